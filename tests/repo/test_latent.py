"""The benchmark of latent diffusion: equal networks, kept pieces, and a judge that is not the reader."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import latent
from course_lib.models import store
from course_lib.models.tensors import save_tensors
from course_lib.nets.autoencoders import GaussianAutoencoder, QuantisedAutoencoder
from course_lib.nets.unet import UNet

MODELS = ("diffusion, f = 1", "diffusion, f = 2", "diffusion, f = 4", "diffusion, f = 8")


def test_each_factor_halves_the_numbers_and_gets_the_same_u_net(tmp_path: Path) -> None:
    found = latent.pieces(tmp_path)
    networks = {name: found[name].task().network for name in MODELS}
    weights = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert max(weights.values()) < 1.02 * min(weights.values())
    assert len({found[name].minutes for name in MODELS}) == 1
    for factor in (2, 4, 8):
        coder, model = found[f"autoencoder, f = {factor}"].task().network, networks[f"diffusion, f = {factor}"]
        assert isinstance(coder, GaussianAutoencoder) and isinstance(model, UNet)
        assert coder.factor == factor and coder.latent == model.channels
        assert coder.latent * (32 // factor) ** 2 == 2048 // factor
    losses = [piece for name, piece in found.items() if name.startswith("autoencoder") and "f =" not in name]
    assert len(losses) == 5
    assert {piece.steps_of for piece in losses} == {"autoencoder, f = 4"}  # equal steps, not minutes
    assert found["diffusion, latents 5 times too large"].steps_of == "diffusion, f = 4"


def test_the_second_judge_begins_with_other_weights_than_the_reader(tmp_path: Path) -> None:
    judge = latent.built(latent.pieces(tmp_path)["judge"]).network
    reader, _ = store.load(latent.READER)
    assert judge.config == reader.config  # type: ignore[attr-defined]
    torch.manual_seed(0)
    same = latent.pieces(tmp_path)["judge"].task().network
    assert not torch.equal(next(judge.parameters()), next(same.parameters()))


def tiny(rows: int = 40) -> latent.Task:
    """A network that learns to say 1."""
    network = nn.Linear(2, 1)
    loss = lambda module, batch, generator: (module(batch[0]) - 1).square().mean()  # noqa: E731
    data = torch.randn(2 * latent.BATCH, 2, generator=torch.Generator().manual_seed(1))
    return latent.Task(network, loss, None, lambda: (data,), {"learning_rate": 1e-2})


def test_a_piece_goes_on_where_it_was_left_with_the_steps_that_were_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        """Stands for a kill."""

    def broken(*args, **kwargs):
        for state in fit(*args, **kwargs):
            yield state
            if state.step == 210 and not kwargs["resume"]:
                raise Stop

    fit, piece = latent.fit, latent.Piece("tiny", 1.0, tiny, "tiny")
    monkeypatch.setattr(latent, "paces", lambda kept: {"tiny": 60 / 220})
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    whole, facts = latent.trained(piece, tmp_path / "whole")
    assert facts["steps"] == 220 and facts["weights"] == 3
    monkeypatch.setattr(latent, "fit", broken)
    with pytest.raises(Stop):
        latent.trained(piece, tmp_path / "cut")
    monkeypatch.setattr(latent, "paces", lambda kept: {"tiny": 1.0})  # the plan stands
    again, facts = latent.trained(piece, tmp_path / "cut")
    assert facts["steps"] == 220
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert not list((tmp_path / "cut").glob("*.state.*"))


def test_what_works_with_an_autoencoder_waits_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="autoencoder, f = 4 must be trained before"):
        latent.autoencoder("autoencoder, f = 4", tmp_path)


def test_the_rate_is_the_divergence_in_bits_or_the_words() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    coder = GaussianAutoencoder(latent=4, width=8).eval()
    penalty = coder(images.float() / 127.5 - 1, torch.Generator().manual_seed(0)).penalty.detach()
    assert latent.rate(coder, images) == pytest.approx(float(penalty.mean()) / 0.6931, rel=1e-3)
    assert latent.rate(QuantisedAutoencoder(latent=4, codes=32, width=8).eval(), images) == 4 * 5


def test_a_stretched_autoencoder_undoes_the_stretch() -> None:
    torch.manual_seed(0)
    coder = GaussianAutoencoder(latent=4, width=8).eval()
    z = torch.randn(2, 4, 2, 2)
    assert torch.allclose(latent.Stretched(coder, 5.0).decode(5 * z), coder.decode(z), atol=1e-5)


def test_samples_are_of_each_class_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def remembered(model, n, steps, sampler, generator, cond) -> Tensor:
        seen.append(cond)
        return torch.zeros(n, 3, 4, 4)

    monkeypatch.setattr(latent, "draw", remembered)
    network = UNet(channels=3, width=8, multipliers=(1,), attention=(), classes=10)
    images, labels = latent.drawn(latent.Denoising(network, latent.V, latent.COSINE, (3, 4, 4)), 200)
    assert images.dtype == torch.uint8 and labels.bincount().tolist() == [20] * 10
    assert torch.equal(torch.cat(seen), labels)


def test_principal_components_leave_the_variance_of_the_axes_that_they_drop() -> None:
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = (images.double() * torch.tensor([1.0, 0.5, 0.2]).view(3, 1, 1)).byte()
    rows = latent.squares(images, 2).flatten(0, 2).double()
    variances = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0))
    mean, axes = latent.principal_components(images, 2, 5)
    assert torch.allclose(mean, rows.mean(0)) and torch.allclose(axes.T @ axes, torch.eye(5).double(), atol=1e-9)
    left = (rows - mean) - (rows - mean) @ axes @ axes.T
    assert float(left.square().sum(1).mean()) == pytest.approx(float(variances[:-5].sum()), rel=1e-6)
    whole = latent.by_components(images, 2, *latent.principal_components(images, 2, 12))
    assert torch.equal(whole, images)
    again = latent.by_components(images, 2, mean, axes)
    error = (again.double() - images.double()).square().mean() * 12 / 127.5**2
    assert float(error) == pytest.approx(float(variances[:-5].sum()), rel=0.05)  # clipping and rounding are the rest


def test_measuring_tells_all_that_the_page_draws_of_what_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), torch.arange(40) % 10
    monkeypatch.setattr(latent.sets, "load", lambda name, split: (images, labels))
    monkeypatch.setattr(latent, "compare", lambda name, images, labels=None: {"frechet distance": {"value": 1.0}})
    monkeypatch.setattr(latent, "STEPS", 1)
    monkeypatch.setattr(latent, "samples_a_second", partial(latent.samples_a_second, repeats=1, n=10))
    for name in ("autoencoder, f = 4", "diffusion, f = 4", "judge"):
        piece = latent.pieces(tmp_path)[name]
        weights, facts = latent.built(piece).network.state_dict(), {"steps": 1, "seconds": 1.0, "weights": 1}
        save_tensors(tmp_path / f"{piece.file}.safetensors", weights, {"facts": json.dumps(facts)})
    metrics, pictures = latent.measure_all(tmp_path, 20, "")
    coder = ("numbers", "psnr", "rate", "scale", "frechet distance", "second distance", "training: steps")
    model = ("samples a second", "frechet distance", "second distance", "training: steps")
    assert {f"autoencoder, f = 4: {key}" for key in coder} <= set(metrics)
    assert {f"diffusion, f = 4: {key}" for key in model} <= set(metrics)
    linear = [f"principal components, f = {f}: {key}" for f in latent.FACTORS for key in ("psnr", *model[1:3])]
    assert set(linear) <= set(metrics)
    assert metrics["autoencoder, f = 4: numbers"]["value"] == 512
    assert {"reconstructions", "autoencoder, f = 4: rows", "diffusion, f = 4"} <= set(pictures)
