"""Training: deterministic, exactly resumable, and as good as theory allows."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.schedules import cosine
from course_lib.hardware import bf16_is_fast
from course_lib.models.tensors import load_tensors
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.recipes import diffusion
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.training.loop import batch_rows, epoch_order, fit, rate, recomputed
from course_lib.training.progress import progress
from course_lib.training.state import Opponent

DIGITS = RECIPES["digits-ddpm"]
# Pictures in two steps instead of 50, for scripts that train.
QUICK = (
    "from course_lib.recipes import diffusion; slow = diffusion.draw; "
    "diffusion.draw = lambda model, n, steps, **more: slow(model, n, 2, **more); "
)
DATA = (torch.randn(64, 2, generator=torch.Generator().manual_seed(0)),)


def noisy_square(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """A loss with randomness of its own."""
    x = batch[0] + 0.1 * torch.randn(batch[0].shape, generator=generator)
    return (network(x, torch.ones(len(x))) - x.flip(1)).square().mean()


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(width=16, depth=1)


def run(steps: int, resume: Path | None = None, total: int = 12, **options):
    network = mlp()
    states = fit(network, noisy_square, DATA, steps=total, batch_size=16, resume=resume, bf16=False, **options)
    return last_state(itertools.islice(states, steps))


def last_state(states):
    return deque(states, maxlen=1).pop()


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_same_seed_same_weights_other_seed_others() -> None:
    assert torch.equal(weights(run(12).network), weights(run(12).network))
    assert not torch.equal(weights(run(12).network), weights(run(12, seed=1).network))


def test_resumed_run_is_bit_identical(tmp_path: Path) -> None:
    whole = run(12)
    run(5).save(tmp_path / "state.safetensors")
    resumed = run(7, resume=tmp_path / "state.safetensors")
    assert resumed.step == whole.step == 12
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert torch.equal(weights(resumed.ema), weights(whole.ema))
    old, new = whole.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"]
    assert all(torch.equal(torch.as_tensor(old[i][key]), torch.as_tensor(new[i][key])) for i in old for key in old[i])


def test_resuming_a_finished_run_yields_its_state_once(tmp_path: Path) -> None:
    run(12).save(tmp_path / "state.safetensors")
    states = list(
        fit(mlp(), noisy_square, DATA, steps=12, batch_size=16, resume=tmp_path / "state.safetensors", bf16=False)
    )
    assert [state.step for state in states] == [12]


def test_average_follows_its_formula() -> None:
    network = mlp()
    expected = None
    for state in fit(network, noisy_square, DATA, steps=6, batch_size=16, ema_decay=0.2, bf16=False):
        now = weights(network)
        n = state.step - 1
        expected = now.clone() if expected is None else expected.lerp(now, 1 - min(0.2, (1 + n) / (10 + n)))
        assert torch.allclose(weights(state.ema.module), expected, atol=1e-7)


def test_gradients_are_clipped() -> None:
    network = mlp()
    loss = lambda net, batch, generator: 1e4 * noisy_square(net, batch, generator)  # noqa: E731
    state = next(fit(network, loss, DATA, steps=3, batch_size=16, clip=0.5, bf16=False))
    norm = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm()
    assert state.gradient_norm > 100
    assert abs(float(norm) - 0.5) < 1e-3


def test_each_epoch_visits_every_row_once_in_a_new_order() -> None:
    epochs = [torch.cat([batch_rows(10, 5, step, seed=3) for step in (2 * e, 2 * e + 1)]) for e in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3


def test_learning_rate_rises_and_falls() -> None:
    rates = [rate(step, 100, 10) for step in range(101)]
    assert rates[:10] == [(step + 1) / 11 for step in range(10)]
    assert rates[10] == 1
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert abs(rates[100]) < 1e-6


def test_network_learns_the_exact_answer_and_no_better() -> None:
    """On a mixture, the loss of the best possible network is known; a trained one comes close from above."""
    mixture = Mixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.05 * torch.eye(2).repeat(2, 1, 1)
    )
    schedule = cosine(50)
    process, exact = GaussianDiffusion(schedule), ExactDiffusion(mixture, schedule)
    x0, _ = mixture.sample(4096, torch.Generator().manual_seed(0))

    def loss(network, batch, generator) -> Tensor:
        t = torch.randint(1, 51, (len(batch[0]),), generator=generator)
        return denoising_loss(network, batch[0], t, torch.randn(batch[0].shape, generator=generator), process).mean()

    torch.manual_seed(0)
    network = MLP(width=64, time_scale=20.0)
    state = last_state(fit(network, loss, (x0,), steps=700, batch_size=256, learning_rate=3e-3, bf16=False))
    fresh, _ = mixture.sample(20_000, torch.Generator().manual_seed(1))
    score = loss(state.ema.module, (fresh,), torch.Generator().manual_seed(2)).item()
    best = loss(lambda x, t, cond: exact.eps(x, t), (fresh,), torch.Generator().manual_seed(2)).item()
    assert best < score < 1.1 * best + 0.01


def test_bf16_trains_too() -> None:
    state = next(fit(mlp(), noisy_square, DATA, steps=2, batch_size=16, bf16=True))
    assert state.loss == pytest.approx(run(1).loss, rel=0.05)
    assert isinstance(bf16_is_fast(torch.device("cpu")), bool)


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(width=8, multipliers=(1, 2), blocks=1, attention=(1,))


def image_loss(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """A loss of images with randomness of its own."""
    x = batch[0] + torch.randn(batch[0].shape, generator=generator)
    return (network(x, torch.arange(len(x))) - batch[0]).square().mean()


def train_unet(**options) -> nn.Module:
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return last_state(
        fit(unet(), image_loss, (images,), steps=4, batch_size=8, warmup=0, bf16=False, **options)
    ).network


@pytest.mark.parametrize("option", ["checkpointing", "channels_last"])
def test_keywords_for_speed_and_memory_change_nothing_else(option: str) -> None:
    with_it, without = (weights(train_unet(**{option: on})) for on in (True, False))
    assert torch.allclose(with_it, without, atol=2e-4)
    assert (with_it - weights(unet())).abs().max() > 1e-3


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_as_the_plain_one() -> None:
    assert torch.allclose(weights(run(4, compiled=True).network), weights(run(4).network), atol=1e-5)


def test_a_network_that_is_compiled_wrongly_does_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(self: nn.Module) -> None:
        self._compiled_call_impl = lambda *given: 1.2 * self._call_impl(*given)

    monkeypatch.setattr(nn.Module, "compile", compiled)
    with pytest.raises(ValueError, match="gradient differs by .*: train it without compiling"):
        run(4, compiled=True)


def test_checkpointing_keeps_less_for_the_backward_pass_and_leaves_the_network_as_it_was() -> None:
    network, x = unet(), torch.randn(4, 1, 8, 8)

    def kept() -> int:
        sizes = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(x, torch.ones(4))
        return sum(sizes)

    before = kept()
    with recomputed(network):
        assert kept() < before / 2
    assert kept() == before
    assert not any("forward" in vars(module) for module in network.modules())


def test_channels_last_reaches_the_convolutions() -> None:
    network = train_unet(channels_last=True)
    assert network.down[0].residual.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_parts_of_a_batch_add_up_to_the_batch() -> None:
    def without_noise(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return network(batch[0], torch.ones(len(batch[0]))).square().mean()

    whole, cut = (
        last_state(fit(mlp(), without_noise, DATA, steps=3, batch_size=16, warmup=0, bf16=False, parts=parts))
        for parts in (1, 4)
    )
    assert torch.allclose(weights(whole.network), weights(cut.network), atol=1e-5)
    assert whole.loss == pytest.approx(cut.loss, rel=1e-5)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = tmp_path / "train.py"
    script.write_text(
        f"{QUICK}import sys; from course_lib.recipes.rows import RECIPES; from course_lib.recipes.train import train; "
        "from course_lib.training import distributed; distributed.join(); "
        "train(RECIPES['digits-ddpm'], sys.argv[1], steps=6, batch_size=16, bf16=False, parts=2); distributed.leave()"
    )
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for options, folder in (([], "one"), (together, "two")):
        command = [sys.executable, *options, str(script), str(tmp_path / folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    one, two = (np.loadtxt(tmp_path / name / "log.csv", delimiter=",", skiprows=1) for name in ("one", "two"))
    assert one.shape == (6, 3)  # step, loss, norm of the gradient
    np.testing.assert_allclose(two, one, rtol=1e-4)
    (first, _), (second, _) = (load_tensors(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"one row a sample; they have \[3, 64\] rows"):
        next(fit(mlp(), noisy_square, (*DATA, torch.zeros(3)), steps=1))
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 64\]"):
        next(fit(mlp(), noisy_square, DATA, steps=1, batch_size=65))
    with pytest.raises(ValueError, match="the loss became nan at step 0: lower learning_rate"):
        next(
            fit(
                mlp(),
                lambda network, batch, generator: noisy_square(network, batch, generator) * float("nan"),
                DATA,
                steps=1,
                batch_size=16,
            )
        )


def test_a_gradient_that_is_no_number_stops_before_the_weights_take_it() -> None:
    """The loss is finite, the square root's slope at 0 is not."""

    def loss(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        value = noisy_square(network, batch, generator)
        return value if next(counter) < 2 else value + (value - value.detach()).abs().sqrt()

    network, counter, kept = mlp(), itertools.count(), []
    with pytest.raises(ValueError, match="the gradient's norm became nan at step 2: lower learning_rate"):
        for state in fit(network, loss, DATA, steps=5, batch_size=16, bf16=False):
            kept.append((weights(network), weights(state.ema.module)))
    assert len(kept) == 2
    assert torch.equal(weights(network), kept[-1][0]) and weights(state.ema.module).isfinite().all()
    assert torch.equal(weights(state.ema.module), kept[-1][1])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("warmup", -1),
        ("ema_decay", float("nan")),
        ("ema_decay", 1.1),
        ("clip", -1.0),
        ("clip", 0.0),
        ("clip", float("nan")),
        ("weight_decay", -1.0),
        ("weight_decay", float("inf")),
    ],
)
def test_a_keyword_out_of_its_range_is_refused_before_the_first_step(keyword: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{keyword} must be .*; got {value}"):
        fit(mlp(), noisy_square, DATA, **{"steps": 1, "batch_size": 16, keyword: value})


def test_an_epoch_s_order_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch_order.cache_clear()
    drawn = []
    monkeypatch.setattr(torch, "randperm", lambda rows, generator: drawn.append(rows) or torch.arange(rows))
    for step in range(8):
        batch_rows(10, 2, step, seed=0)
    epoch_order.cache_clear()
    assert drawn == [10, 10]


def test_progress_passes_every_state_on(capsys: pytest.CaptureFixture) -> None:
    states = progress(fit(mlp(), noisy_square, DATA, steps=4, batch_size=16, bf16=False), 4)
    assert [state.step for state in states] == [1, 2, 3, 4]
    assert "step 4/4" in capsys.readouterr().err


def test_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = (
        f"{QUICK}import sys; from course_lib.recipes.rows import RECIPES; from course_lib.recipes.train import train; "
        "train(RECIPES['digits-ddpm'], sys.argv[1], steps=12, batch_size=16, save_every=2, resume=len(sys.argv) > 2)"
    )
    start = [sys.executable, "-c", script]
    subprocess.run([*start, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    killed = subprocess.Popen([*start, str(tmp_path / "killed")], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "killed" / "state.safetensors").exists()
        and killed.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (tmp_path / "killed" / "state.safetensors").exists()
    subprocess.run([*start, str(tmp_path / "killed"), "--resume"], env=environment, check=True, capture_output=True)
    whole, _ = load_tensors(tmp_path / "whole" / "model.safetensors")
    resumed, _ = load_tensors(tmp_path / "killed" / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [int(line.split(",")[0]) for line in (tmp_path / "killed" / "log.csv").read_text().splitlines()[1:]]
    assert steps == list(range(1, 13))


def test_a_run_is_not_overwritten_nor_resumed_with_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = diffusion.draw
    monkeypatch.setattr(diffusion, "draw", lambda model, n, steps, **more: draw(model, n, 2, **more))
    train(DIGITS, tmp_path / "run", steps=2, batch_size=8)
    with pytest.raises(ValueError, match="already holds a run"):
        train(DIGITS, tmp_path / "run", steps=2, batch_size=8)
    with pytest.raises(ValueError, match="steps was 2 and is now 3"):
        train(DIGITS, tmp_path / "run", steps=3, batch_size=8, resume=True)
    (tmp_path / "run" / "model.safetensors").unlink()
    card = train(DIGITS, tmp_path / "run", steps=2, batch_size=8, resume=True)
    assert card.steps == 2
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_damaged_run_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        train(DIGITS, tmp_path, steps=2, resume=True)


def duel(steps: int, resume: Path | None = None, **options):
    """A generator of points against a judge; both begin from fixed weights."""
    network, judge = mlp(), mlp()

    def judged(module: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        drawn = network(torch.randn(batch[0].shape, generator=generator), torch.ones(len(batch[0]))).detach()
        real, fake = (module(x, torch.ones(len(x))).sum(1) for x in (batch[0], drawn))
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def fooled(module: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        drawn = module(torch.randn(batch[0].shape, generator=generator), torch.ones(len(batch[0])))
        return nn.functional.softplus(-judge(drawn, torch.ones(len(drawn))).sum(1)).mean()

    options = {"steps": 12, "batch_size": 16, "bf16": False, "opponent": Opponent(judge, judged, 2e-3)} | options
    return last_state(itertools.islice(fit(network, fooled, DATA, resume=resume, **options), steps))


def test_two_networks_in_turns_resume_bit_for_bit(tmp_path: Path) -> None:
    whole = duel(12)
    duel(5).save(tmp_path / "state.safetensors")
    resumed = duel(7, resume=tmp_path / "state.safetensors")
    assert resumed.step == whole.step == 12
    for name in ("network", "ema", "opponent"):
        assert torch.equal(weights(getattr(resumed, name)), weights(getattr(whole, name))), name
    assert (weights(whole.opponent) - weights(mlp())).abs().max() > 1e-3  # it has learned, too


def test_the_opponent_moves_first_and_is_held_while_the_network_moves() -> None:
    """An opponent that has moved answers otherwise than one that stands still, and only the network has gradients in the end."""
    still = duel(3, opponent=None)
    moved = duel(3)
    assert not torch.equal(weights(still.network), weights(moved.network))
    assert not any(parameter.requires_grad for parameter in moved.opponent.parameters())
    assert all(parameter.grad is not None for parameter in moved.network.parameters() if parameter.requires_grad)


def test_an_opponent_whose_loss_is_not_finite_is_named() -> None:
    broken = Opponent(mlp(), lambda network, batch, generator: network(batch[0], torch.ones(16)).sum() * math.nan, 1e-3)
    with pytest.raises(ValueError, match="the opponent's loss became nan at step 0: lower learning_rate"):
        duel(1, opponent=broken)
