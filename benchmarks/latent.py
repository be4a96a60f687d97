"""How far to compress before diffusing, at equal minutes on CIFAR-10: python -m benchmarks.latent train, then measure.

`train` trains autoencoders with the factors f = 2, 4 and 8 for AUTOENCODER minutes each, the one with f = 4 also with each part of its
loss left out, for as many steps, and a model with classes of the latents of each (f = 1: of the pixels) for DIFFUSION minutes. Minutes are
those of one core; the steps that fit in come from each piece's pace, which is measured for all in turns before the first. A piece is kept
when it is done, and its state on the way, so that training may be stopped at any moment and begun again. `measure` draws, and writes
results/latent.json: of each autoencoder, and of as many principal components of squares of f x f pixels, what is left of test images; of
each model the metrics of its samples, and how many it draws in a second. --quick does hardly anything.

The autoencoders learn from the features of the shipped classifier (its stages before the last), and the metrics read the last one: a second
judge that no loss has seen, of another seed, measures the Frechet distance once more.
"""

import argparse
import base64
import json
import math
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import flipped, to_bytes, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.evaluation.evaluate import compare, entry
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.reconstruction import encoded, mean_interval, psnr, reconstructed
from course_lib.files import write_atomically
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.nets.autoencoders import Autoencoder, GaussianAutoencoder, QuantisedAutoencoder
from course_lib.nets.classifier import ConvClassifier
from course_lib.nets.conditions import Labels
from course_lib.nets.unet import UNet
from course_lib.pages.plotting import grid_png
from course_lib.recipes.autoencoding import Reconstruct, ReconstructAdversarially
from course_lib.recipes.classification import classification_loss, mirrored_and_moved
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.sampling.generate import Denoising, balanced_classes, draw
from course_lib.training.loop import fit, generator_for
from course_lib.training.state import Batch, Loss, Opponent

AUTOENCODER, DIFFUSION, JUDGE = 10.0, 9.0, 4.0  # minutes of one core
WIDTH, FACTORS = 32, {2: (1,), 4: (1, 2), 8: (1, 2, 2)}  # the resolutions' channels, in units of the width
READER = "cifar10-classifier"
PENALTY, PERCEPTUAL = 1e-3, 0.05
BATCH, DRAWN, STEPS = 32, 1000, 50
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "latent"
COSINE = cosine(1000)


class Task(NamedTuple):
    """What `fit` needs."""

    network: nn.Module
    loss: Loss
    opponent: Opponent | None
    data: Callable[[], Batch]
    options: dict[str, Any]


class Piece(NamedTuple):
    """One network to train."""

    name: str
    minutes: float
    task: Callable[[], Task]
    steps_of: str  # the piece whose pace says how many steps

    @property
    def file(self) -> str:
        """What its files are called."""
        return self.name.replace(" ", "-").replace(",", "").replace("=", "")


def learned_from(rows: int | None) -> Batch:
    """The first so many training images of CIFAR-10 (None: all), uint8, with their labels."""
    images, labels = sets.load("cifar10", "train")
    return images[:rows], labels[:rows]


def latent_channels(factor: int) -> int:
    """Twice the factor, so that each doubling of it halves the numbers."""
    return 2 * factor


def autoencoding(objective: Reconstruct, factor: int, rows: int | None, codes: int | None = None) -> Task:
    """An autoencoder, and what it is trained for."""
    config = {"latent": latent_channels(factor), "width": WIDTH, "multipliers": FACTORS[factor]}
    network = GaussianAutoencoder(**config) if codes is None else QuantisedAutoencoder(codes=codes, **config)
    loss, opponent = (
        objective.duel(network) if isinstance(objective, ReconstructAdversarially) else (objective.loss(network), None)
    )
    options = {"learning_rate": 1e-3, "weight_decay": 0.0, "betas": (0.5, 0.99)}
    return Task(network, loss, opponent, lambda: learned_from(rows)[:1], options)


def diffusing(factor: int, kept: Path, rows: int | None, stretch: float = 1.0) -> Task:
    """A model with classes of the latents, `stretch` times too large, of an autoencoder; for the factor 1 of the pixels."""
    pixels = factor == 1
    network = UNet(
        channels=3 if pixels else latent_channels(factor),
        width=WIDTH,
        multipliers=(1, 2),
        attention=(1,),
        patch=2 if pixels else 1,
        classes=10,
    )
    process = GaussianDiffusion(COSINE)

    def latents() -> Batch:
        images, labels = learned_from(rows)
        network = autoencoder(f"autoencoder, f = {factor}", kept)
        both = [encoded(network, seen) for seen in (images, images.flip(-1))]
        return torch.cat(both), torch.cat([labels, labels])

    if pixels:
        loss = diffusion_loss(process, V, network.takes, flipped)
        return Task(network, loss, None, lambda: learned_from(rows), {"learning_rate": 1e-3})
    read = lambda z: stretch * z.float()  # noqa: E731
    loss = diffusion_loss(process, V, network.takes, read=read)
    return Task(network, loss, None, latents, {"learning_rate": 1e-3})


def judging(rows: int | None) -> Task:
    """The second judge: the shipped classifier's architecture and training, shorter, from another seed."""
    loss = classification_loss(mirrored_and_moved(2), label_smoothing=0.1)
    options = {"learning_rate": 2e-3, "weight_decay": 0.05}
    return Task(ConvClassifier(channels=3), loss, None, lambda: learned_from(rows), options)


def pieces(kept: Path, rows: int | None = None) -> dict[str, Piece]:
    """All that is to be trained, in the order in which it is, on the first so many images (None: all)."""
    full = ReconstructAdversarially(PENALTY, PERCEPTUAL, READER, flipped)
    ways: dict[str, Callable[[], Task]] = {
        f"autoencoder, f = {factor}": partial(autoencoding, full, factor, rows) for factor in (4, 2, 8)
    }
    ways |= {f"diffusion, f = {factor}": partial(diffusing, factor, kept, rows) for factor in (4, 1, 2, 8)}
    ways["judge"] = partial(judging, rows)
    ways |= {
        "autoencoder, no discriminator": partial(
            autoencoding, Reconstruct(PENALTY, PERCEPTUAL, READER, flipped), 4, rows
        ),
        "autoencoder, no features": partial(
            autoencoding, ReconstructAdversarially(PENALTY, 0.0, READER, flipped), 4, rows
        ),
        "autoencoder, error alone": partial(autoencoding, Reconstruct(PENALTY, 0.0, READER, flipped), 4, rows),
        "autoencoder, a high price": partial(autoencoding, Reconstruct(1.0, 0.0, READER, flipped), 4, rows),
        "autoencoder, 1024 words": partial(
            autoencoding, ReconstructAdversarially(1.0, PERCEPTUAL, READER, flipped), 4, rows, 1024
        ),
        "diffusion, latents 5 times too large": partial(diffusing, 4, kept, rows, 5.0),
    }
    budget = {"autoencoder": AUTOENCODER, "diffusion": DIFFUSION, "judge": JUDGE}
    # What differs in one thing from an autoencoder with f = 4, or from a model of its latents, is trained for as many steps.
    return {
        name: Piece(name, budget[kind], task, f"{kind}, f = 4" if kind != "judge" and "f =" not in name else name)
        for name, task in ways.items()
        for kind in [name.partition(",")[0]]
    }


def built(piece: Piece) -> Task:
    """A piece's task with fresh weights; the judge's are of another seed than the shipped classifier's."""
    torch.manual_seed(1 if piece.name == "judge" else 0)
    return piece.task()


def paces(kept: Path, rounds: int = 2, steps: int = 6) -> dict[str, float]:
    """The processor's seconds for a step of each piece, the best of a few rounds in turns; measured once, and kept."""
    file = kept / "paces.json"
    if not file.exists():
        found: dict[str, float] = {}
        images = torch.randint(0, 256, (2 * BATCH, 3, 32, 32), dtype=torch.uint8)
        labels = torch.arange(len(images)) % 10
        for _ in range(rounds):
            for piece in pieces(kept).values():
                task, started = built(piece), 0.0
                rows: Batch = (images, labels)
                if isinstance(task.network, UNet) and task.network.channels != 3:
                    side = 64 // task.network.channels  # 32 / f, with 2 f channels
                    rows = (torch.randn(2 * BATCH, task.network.channels, side, side).half(), labels)
                for state in fit(task.network, task.loss, rows, steps + 2, BATCH, opponent=task.opponent):
                    if state.step == 2:
                        started = time.process_time()
                pace = (time.process_time() - started) / steps
                found[piece.name] = min(pace, found.get(piece.name, math.inf))
        write_atomically(file, json.dumps(found, indent=2).encode() + b"\n")
    return json.loads(file.read_text())


def trained(piece: Piece, kept: Path, share: float = 1.0) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged network of a piece and what its training took; trained where it is not kept yet, from where it was left."""
    file, state_file, plan_file = (kept / f"{piece.file}.{end}" for end in ("safetensors", "state.safetensors", "json"))
    task = built(piece)
    if not file.exists():
        if not plan_file.exists():
            steps = max(4, round(share * 60 * piece.minutes / paces(kept)[piece.steps_of]))
            write_atomically(plan_file, json.dumps({"steps": steps, "seconds": 0.0}).encode())
        plan = json.loads(plan_file.read_text())
        data, started, spent, state = task.data(), time.process_time(), plan["seconds"], None
        resume = state_file if state_file.exists() else None
        for state in fit(
            task.network, task.loss, data, plan["steps"], BATCH, opponent=task.opponent, resume=resume, **task.options
        ):
            if state.step % 200 == 0:
                plan["seconds"] = spent + time.process_time() - started
                state.save(state_file)
                write_atomically(plan_file, json.dumps(plan).encode())
                left = (plan["steps"] - state.step) * plan["seconds"] / state.step / 60
                print(
                    f"{piece.name}: step {state.step}/{plan['steps']}, loss {state.loss:.4f}, {left:.1f} min left",
                    flush=True,
                )
        assert state is not None
        weights = sum(p.numel() for p in task.network.parameters())
        seconds = round(spent + time.process_time() - started, 1)
        facts = {"steps": plan["steps"], "seconds": seconds, "weights": weights}
        save_tensors(file, state.ema.module.state_dict(), {"facts": json.dumps(facts)})
        state_file.unlink(missing_ok=True)
    tensors, metadata = load_tensors(file)
    load_weights(task.network, tensors, file)
    return task.network.eval().requires_grad_(False), json.loads(metadata["facts"])


def autoencoder(name: str, kept: Path) -> Autoencoder:
    """A trained autoencoder; raises ValueError where it is not trained yet."""
    piece = pieces(kept)[name]
    if not (kept / f"{piece.file}.safetensors").exists():
        raise ValueError(f"{name} must be trained before what works with it")
    network, _ = trained(piece, kept)
    assert isinstance(network, Autoencoder)
    return network


# --- measuring -------------------------------------------------------------------------------------------------------


@cache
def judge(kept: Path) -> tuple[ConvClassifier, Tensor]:
    """The second judge, with its vectors of the first 10,000 training images."""
    network, _ = trained(pieces(kept)["judge"], kept)
    assert isinstance(network, ConvClassifier)
    return network, features(network, sets.load("cifar10", "train")[0][:10_000]).vectors


def second_distance(images: Tensor, kept: Path) -> float:
    """The Frechet distance of images `(N, C, H, W)` from the first 10,000 training images, in the second judge's features."""
    network, real = judge(kept)
    return float(frechet_distance(real, features(network, images).vectors))


def how_near(images: Tensor, again: Tensor, kept: Path, judged: bool) -> dict[str, Any]:
    """All metrics of what is left of images `(N, C, H, W)`."""
    found = {"psnr": entry(mean_interval(psnr(images, again))), **compare("cifar10", again)}
    if judged:
        found["second distance"] = {"value": round(second_distance(again, kept), 4)}
    return found


def of_reconstructions(network: Autoencoder, n: int, kept: Path, judged: bool) -> tuple[dict[str, Any], Tensor]:
    """What is left of the first n test images: all metrics, the rate in bits a picture, and the pictures."""
    images = sets.load("cifar10", "test")[0][:n]
    again = reconstructed(network, images)
    found = how_near(images, again, kept, judged)
    found["numbers"] = {"value": encoded(network, images[:1])[0].numel()}
    found["scale"] = {"value": round(float(network.scale), 4)}
    found["rate"] = {"value": round(rate(network, images[:500]), 1)}
    return found, again


def squares(images: Tensor, factor: int) -> Tensor:
    """The squares of factor x factor pixels of uint8 images `(N, C, H, W)`, in [-1, 1], a row each: `(N, H/f, W/f, C f^2)`."""
    return F.pixel_unshuffle(to_unit(images), factor).movedim(1, -1)


def principal_components(images: Tensor, factor: int, count: int) -> tuple[Tensor, Tensor]:
    """The mean `(D,)` of the squares of uint8 images, and their first principal components `(D, count)`, in float64."""
    total = square = torch.zeros((), dtype=torch.float64)
    rows = 0
    for batch in images.split(2000):
        found = squares(batch, factor).flatten(0, 2).double()
        total, square, rows = total + found.sum(0), square + found.T @ found, rows + len(found)
    mean = total / rows
    return mean, torch.linalg.eigh(square / rows - mean.outer(mean)).eigenvectors.flip(1)[:, :count]


def by_components(images: Tensor, factor: int, mean: Tensor, axes: Tensor) -> Tensor:
    """What is left of uint8 images where of each square only its components along the axes `(D, count)` are kept."""
    rows = squares(images, factor).double() - mean
    return to_bytes(F.pixel_shuffle((rows @ axes @ axes.T + mean).movedim(-1, 1), factor).clamp(-1, 1).float())


def linear_baselines(n: int, kept: Path, judged: bool) -> dict[str, Any]:
    """What the best linear maps of squares to as many numbers as an autoencoder has leave of the first n test images."""
    learned, images = learned_from(None)[0], sets.load("cifar10", "test")[0][:n]
    metrics = {}
    for factor in FACTORS:
        again = by_components(images, factor, *principal_components(learned, factor, latent_channels(factor)))
        for key, value in how_near(images, again, kept, judged).items():
            metrics[f"principal components, f = {factor}: {key}"] = value
    return metrics


@torch.no_grad()
def rate(network: Autoencoder, images: Tensor) -> float:
    """Bits a picture: the mean divergence of Gaussian latents, or the logarithm of the number of words at each place."""
    x = to_unit(images)
    if isinstance(network, QuantisedAutoencoder):
        places = network.words(network.raw(x))
        return places[0].numel() * math.log2(network.codebook.num_embeddings)
    return float(network(x, torch.Generator().manual_seed(0)).penalty.mean()) / math.log(2)


class Stretched(nn.Module):
    """An autoencoder whose latents are so many times too large: what a model works with whose scale was forgotten."""

    def __init__(self, inner: Autoencoder, stretch: float) -> None:
        super().__init__()
        self.inner, self.stretch = inner, stretch

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents z `(B, latent, h, w)`."""
        return self.inner.decode(z / self.stretch)


def drawing(piece: Piece, kept: Path) -> Denoising:
    """A model of pixels or latents, ready to draw."""
    network, _ = trained(piece, kept)
    assert isinstance(network, UNet)
    if network.channels == 3:
        return Denoising(network, V, COSINE, (3, 32, 32))
    factor = network.channels // 2
    decoding: Any = autoencoder(f"autoencoder, f = {factor}", kept)
    if "too large" in piece.name:
        decoding = Stretched(decoding, 5.0)
    return Denoising(network, V, COSINE, (network.channels, 32 // factor, 32 // factor), None, decoding)


def drawn(model: Denoising, n: int) -> tuple[Tensor, Tensor]:
    """n uint8 images `(n, C, H, W)`, as many of each class, with the classes `(n,)`."""
    takes = model.takes
    assert isinstance(takes, Labels)
    labels, batches = balanced_classes(takes, n), []
    assert labels is not None
    for number, cond in enumerate(labels.split(100)):
        generator = generator_for(0, number, torch.device("cpu"))
        batches.append(to_bytes(draw(model, len(cond), STEPS, "ddim", generator, cond)))
    return torch.cat(batches), labels


def samples_a_second(model: Denoising, repeats: int = 3, n: int = 100) -> float:
    """Samples that one core draws in a second, without guidance, decoding included: the best of a few times."""
    spent = []
    for seed in range(repeats):
        started = time.process_time()
        draw(model, n, STEPS, "ddim", torch.Generator().manual_seed(seed), torch.arange(n) % 10)
        spent.append(time.process_time() - started)
    return n / min(spent)


def picture(images: Tensor, columns: int) -> str:
    """Images `(N, C, H, W)` as one PNG, in base64."""
    return base64.b64encode(grid_png(to_unit(images), columns=columns)).decode()


def measure_all(kept: Path, n: int, only: str) -> tuple[dict[str, Any], dict[str, str]]:
    """All metrics of what is trained, and pictures: ten test images with what is left of them, and two samples of each class."""
    metrics, pictures, rows = {}, {}, [sets.load("cifar10", "test")[0][:10]]
    done = {name: piece for name, piece in pieces(kept).items() if (kept / f"{piece.file}.safetensors").exists()}
    judged = "judge" in done
    if judged:
        real = second_distance(sets.load("cifar10", "test")[0][:n], kept)
        metrics["real: second distance"] = {"value": round(real, 4)}
    metrics |= linear_baselines(n, kept, judged)
    for name, piece in done.items():
        if only not in name or name == "judge":
            continue
        network, facts = trained(piece, kept)
        if isinstance(network, Autoencoder):
            found, again = of_reconstructions(network, n, kept, judged)
            rows.append(again[:10])
            pictures[f"{name}: rows"] = str(len(rows) - 1)
        else:
            model, found = drawing(piece, kept), {}
            found["samples a second"] = {"value": round(samples_a_second(model), 3)}
            images, labels = drawn(model, n)
            found |= compare("cifar10", images, labels)
            if judged:
                found["second distance"] = {"value": round(second_distance(images, kept), 4)}
            pictures[name] = picture(images[:: len(images) // 20][:20], 10)
        found |= {f"training: {key}": {"value": value} for key, value in facts.items()}
        metrics |= {f"{name}: {key}": value for key, value in found.items()}
        print(name, {key: one["value"] for key, one in found.items()}, flush=True)
    pictures["reconstructions"] = picture(torch.cat(rows), 10)
    return metrics, pictures


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "measure", "paces"))
    parser.add_argument("--only", default="", help="only the pieces with this in their names, such as 'f = 4'")
    parser.add_argument("--n", type=int, default=DRAWN, help="samples of each model, and test images")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="a thousandth of the minutes, few samples")
    arguments = parser.parse_args()
    kept: Path = arguments.kept
    kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if arguments.task == "paces":
        for name, pace in paces(kept).items():
            print(f"{name}: {pace:.3f} s a step")
        return
    if arguments.task == "train":
        for name, piece in pieces(kept, 1000 if arguments.quick else None).items():
            if arguments.only in name:
                print(name, trained(piece, kept, 1e-3 if arguments.quick else 1.0)[1], flush=True)
        return
    started = time.monotonic()
    metrics, pictures = measure_all(kept, 200 if arguments.quick else arguments.n, arguments.only)
    options = {
        "minutes of an autoencoder": AUTOENCODER,
        "minutes of a model": DIFFUSION,
        "minutes of the judge": JUDGE,
        "width": WIDTH,
        "samples": arguments.n,
        "sampler": f"ddim, {STEPS} steps",
        "batch": BATCH,
        **machine(),
    }
    write(arguments.out / "latent.json", "latent diffusion", options, metrics, started, pictures=pictures)


if __name__ == "__main__":
    main()
