"""Fine-tuning in small: python -m benchmarks.finetuning base, then tune, train, control, measure.

`base` trains a small class-conditional model of 8 x 8 digits. `tune` tries two learning rates for each number of weights that learn, with a
seed that no result uses, and chooses by the loss of the same fresh hearts that the results use. `train` teaches the base 32 hearts as an
eleventh class: all weights, adapters of ranks 1, 4 and 16, adapters of attention alone, and the new class's vector alone; with and without
the base's own samples in the batch; three seeds each, equal steps and batches. `control` teaches a copy of the base's way down to follow
sketches, once with zero convolutions and once with others. `measure` writes results/finetuning.json. What has been trained is kept, and a
command goes on where it was stopped. --quick does hardly anything.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
from sklearn.svm import SVC
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data.images import to_bytes, to_unit
from course_lib.data.sets import split_labelled_digits
from course_lib.data.strokes import drawn
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.evaluation.intervals import Estimate, mean_of
from course_lib.evaluation.kernel import kernel_distance
from course_lib.files import write_atomically
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.nets.control import ControlledUNet
from course_lib.nets.lora import ATTENTION
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.recipes.finetuning import LAYERS, finetune, outlined, own_samples, prepared
from course_lib.sampling.generate import Denoising, draw_batches
from course_lib.training.loop import fit

SIZE: dict[str, Any] = {"width": 16, "multipliers": (1, 2), "attention": (1,), "classes": 10}
SCHEDULE, HEART = cosine(1000), 10
BASE_STEPS, STEPS, BATCH, SEEDS, PICTURES, EACH = 800, 100, 16, 3, 32, 10
CONTROL_STEPS = 250
ASKED = (0, 10, 30, 60, 100)  # steps at which the losses are measured
DRAWS, GUIDANCE, DRAWING = 100, 2.0, 10  # samples of hearts and of digits, their scale, the sampler's steps
TUNING_SEED = 99
RATES = {"full": (1e-3, 3e-3), "adapters": (3e-3, 1e-2), "words": (3e-2, 1e-1)}
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "finetuning"


class Way(NamedTuple):
    """A way to fine-tune: the rank (None: every weight; 0: the word alone), the layers, and whether old samples are in the batch."""

    rank: int | None
    layers: tuple[str, ...] = LAYERS
    prior: bool = False

    @property
    def kind(self) -> str:
        """Whose learning rate it has."""
        return "full" if self.rank is None else "adapters" if self.rank else "words"


WAYS = {
    "all weights": Way(None),
    "all weights, prior": Way(None, prior=True),
    "rank 16": Way(16),
    "rank 4": Way(4),
    "rank 4, prior": Way(4, prior=True),
    "rank 1": Way(1),
    "rank 4, attention alone": Way(4, ATTENTION),
    "word alone": Way(0),
}


def model_of(network: nn.Module) -> Denoising:
    """A network ready to draw."""
    return Denoising(network, V, SCHEDULE, (1, 8, 8))


def base_file(kept: Path) -> Path:
    """Where the base's weights lie."""
    return kept / "base.safetensors"


def train_base(kept: Path, steps: int = BASE_STEPS) -> Iterator[str]:
    """Train the base on 1,500 digits with their classes, and keep its averaged weights."""
    if base_file(kept).exists():
        return
    torch.manual_seed(0)
    network = UNet(**SIZE)
    images, labels = split_labelled_digits()[0]
    loss = diffusion_loss(GaussianDiffusion(SCHEDULE), V, network.takes)
    started = time.process_time()
    for state in fit(network, loss, (to_bytes(images), labels), steps, 64, 3e-3, ema_decay=0.99, bf16=False):
        if state.step % 100 == 0 or state.step == steps:
            yield f"base: step {state.step}, loss {state.loss:.3f}, {time.process_time() - started:.0f} s of a core"
    save_tensors(base_file(kept), state.ema.module.state_dict(), {"seconds": f"{time.process_time() - started:.1f}"})


def base(kept: Path) -> UNet:
    """The trained base."""
    network = UNet(**SIZE)
    load_weights(network, load_tensors(base_file(kept))[0], base_file(kept))
    return network.eval()


def hearts(seed: int, n: int = PICTURES) -> Tensor:
    """Hearts of a seed, uint8 `(n, 1, 8, 8)`."""
    return drawn("heart", n, 8, torch.Generator().manual_seed(1000 + seed))


def kept_samples(kept: Path) -> tuple[Tensor, Tensor]:
    """The base's own samples of its ten classes, EACH of them."""
    file = kept / "own.safetensors"
    if not file.exists():
        images, labels = own_samples(model_of(base(kept)), EACH, DRAWING)
        save_tensors(file, {"images": images, "labels": labels})
    found = load_tensors(file)[0]
    return found["images"], found["labels"]


@torch.no_grad()
def errors(network: nn.Module, images: Tensor, cond: Any, repeats: int = 1) -> Tensor:
    """The denoising loss of each picture `(n,)` in [-1, 1], at `repeats` times each that are spread evenly, with noise that is fixed."""
    generator, total = torch.Generator().manual_seed(7), torch.zeros(len(images), dtype=torch.float64)
    process = GaussianDiffusion(SCHEDULE)
    for turn in range(repeats):
        t = 1 + (torch.arange(len(images)) * 617 + turn * 311) % 1000
        noise = torch.randn(images.shape, generator=generator)
        total += denoising_loss(network, images, t, noise, process, V, cond).double()
    return total / repeats


def fresh(n: int = 100) -> Tensor:
    """Hearts that nothing learned from, in [-1, 1]."""
    return to_unit(hearts(-1, n))


def both_errors(network: nn.Module) -> tuple[Tensor, Tensor]:
    """The losses of fresh hearts, and of held-out digits with their classes."""
    test, labels = split_labelled_digits()[1]
    new = fresh()
    grown = network.takes.classes > HEART  # type: ignore[union-attr]
    told = torch.full((len(new),), HEART) if grown else torch.full((len(new),), 10)  # the base has no word: its null
    return errors(network, new, told), errors(network, test, labels)


def place(kept: Path, name: str, seed: int) -> Path:
    """Where what was measured of a fine-tuned network lies."""
    return kept / f"{name.replace(' ', '-').replace(',', '')}-{seed}.safetensors"


def rates(kept: Path) -> dict[str, float]:
    """The learning rates that `tune` found best; the lower ones before that."""
    file = kept / "tuned.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return {kind: found[kind]["best"] if kind in found else choices[0] for kind, choices in RATES.items()}


def tune(kept: Path, steps: int) -> Iterator[str]:
    """Choose the learning rate of each kind by the loss of fresh hearts after training, with a seed of its own."""
    found = {}
    for kind, rank in (("full", None), ("adapters", 4), ("words", 0)):
        losses = {}
        for rate in RATES[kind]:
            network = base(kept)
            prepared(network, 1, rank)
            *_, state = finetune(
                model_of(network),
                (hearts(TUNING_SEED), torch.full((PICTURES,), HEART)),
                steps,
                BATCH,
                rate,
                seed=TUNING_SEED,
                bf16=False,
            )
            losses[str(rate)] = float(both_errors(state.ema.module.eval())[0].mean())
            yield f"{kind}, learning rate {rate}: loss of hearts {losses[str(rate)]:.4f}"
        found[kind] = {"losses": losses, "best": float(min(losses, key=losses.__getitem__))}
    write_atomically(kept / "tuned.json", json.dumps(found).encode())


def train(kept: Path, name: str, seed: int, steps: int, draws: int) -> Iterator[str]:
    """Fine-tune in one way, measure the losses on the way, draw at the end, and keep all that."""
    file, way = place(kept, name, seed), WAYS[name]
    if file.exists():
        return
    network = base(kept)
    torch.manual_seed(seed)
    prepared(network, 1, way.rank, way.layers)
    weights = sum(p.numel() for p in network.parameters() if p.requires_grad)
    found: dict[str, Tensor] = {}
    started = time.process_time()
    new = hearts(seed), torch.full((PICTURES,), HEART)
    prior = kept_samples(kept) if way.prior else None
    measured_at = [step for step in ASKED if step <= steps]
    curves = [torch.stack([part.mean() for part in both_errors(network.eval())])]
    before = time.process_time()
    seconds = 0.0
    for state in finetune(model_of(network), new, steps, BATCH, rates(kept)[way.kind], prior, seed=seed, bf16=False):
        seconds += time.process_time() - before
        if state.step in measured_at or state.step == steps:
            last = both_errors(state.ema.module.eval())
            curves.append(torch.stack([part.mean() for part in last]))
        before = time.process_time()
    final = state.ema.module.eval()
    found["curve"] = torch.stack(curves)
    found["hearts' losses"], found["digits' losses"] = last
    for what, labels in (("hearts", torch.full((draws,), HEART)), ("digits", torch.arange(draws) % 10)):
        found[what] = to_bytes(draw_batches(model_of(final), draws, DRAWING, seed=1, cond=labels, scale=GUIDANCE))
    save_tensors(file, found, {"seconds": f"{seconds:.2f}", "weights": str(weights)})
    yield f"{name}, seed {seed}: losses {curves[0].tolist()} -> {curves[-1].tolist()}, {time.process_time() - started:.0f} s"


def train_control(kept: Path, zero: bool, steps: int, draws: int) -> Iterator[str]:
    """Teach a copy of the base's way down to follow sketches; with or without zeros at its exits."""
    name = "zero" if zero else "ordinary"
    file = place(kept, f"control {name}", 0)
    if file.exists():
        return
    torch.manual_seed(0)
    network = ControlledUNet(base(kept), 1, 8)
    if not zero:
        for layer in (network.entrance, *network.exits):
            layer.reset_parameters()  # type: ignore[operator]
    (images, labels), (test, test_labels) = split_labelled_digits()
    sketches, asked = outlined(to_bytes(images)), outlined(to_bytes(test))
    told = {"shown": asked, "class": test_labels}
    loss = diffusion_loss(GaussianDiffusion(SCHEDULE), V, network.takes)
    rows = [to_bytes(images), *({"shown": sketches, "class": labels}[key] for key in network.takes)]  # type: ignore[union-attr]
    curve, started = [float(errors(network.eval(), test, told).mean())], time.process_time()
    for state in fit(network, loss, tuple(rows), steps, BATCH, 1e-3, warmup=10, ema_decay=0.98, bf16=False):
        if state.step in (*ASKED, steps):
            curve.append(float(errors(state.ema.module.eval(), test, told).mean()))
    final = state.ema.module.eval()
    found = {"curve": torch.tensor(curve, dtype=torch.float64), "losses": errors(final, test, told)}
    if zero:
        first = {name: value[:draws] for name, value in told.items()}
        swapped = {**first, "class": (first["class"] + 1) % 10}  # a sketch of another class
        absent = {**first, "shown": torch.zeros_like(first["shown"])}
        plain = draw_batches(model_of(base(kept)), draws, DRAWING, seed=1, cond=first["class"], scale=GUIDANCE)
        for what, cond in (("drawn", first), ("swapped", swapped), ("absent", absent)):
            model = model_of(final)
            found[what] = to_bytes(draw_batches(model, len(cond["class"]), DRAWING, seed=1, cond=cond, scale=GUIDANCE))
        found["plain"] = to_bytes(plain)
    weights = sum(p.numel() for p in network.parameters() if p.requires_grad)
    save_tensors(file, found, {"seconds": f"{time.process_time() - started:.1f}", "weights": str(weights)})
    yield f"control, {name}: {curve}, {time.process_time() - started:.0f} s"


def judge() -> SVC:
    """A support vector machine that tells ten digits and hearts apart, from pixels; it learns from digits and hearts that no model saw."""
    (images, labels), _ = split_labelled_digits()
    new = to_unit(hearts(-2, 150))
    x = torch.cat([images, new]).flatten(1).numpy()
    return SVC().fit(x, torch.cat([labels, torch.full((len(new),), HEART)]).numpy())


def judged(who: SVC, images: Tensor) -> Tensor:
    """What the judge calls uint8 pictures, `(n,)`."""
    return torch.from_numpy(who.predict(to_unit(images).flatten(1).numpy()))


def overlap(pictures: Tensor, sketches: Tensor) -> Tensor:
    """Of the pixels that the sketch of each uint8 picture or its given sketch has, the share that both have, `(n,)`."""
    made = outlined(pictures) > 0
    wanted = sketches > 0
    both, either = (op(made, wanted).flatten(1).sum(1) for op in (torch.logical_and, torch.logical_or))
    return both / either.clamp(min=1)


def entry(estimate: Estimate, digits: int = 4) -> dict[str, float]:
    """A value with its interval, as the ledger has it."""
    return {name: round(value, digits) for name, value in estimate._asdict().items()}


def spread(values: list[float], digits: int = 4) -> dict[str, float]:
    """The mean over seeds, with the lowest and the highest."""
    return {
        "value": round(sum(values) / len(values), digits),
        "low": round(min(values), digits),
        "high": round(max(values), digits),
    }


def nearer(made: Tensor, learned: Tensor, others: Tensor) -> Tensor:
    """Whether each uint8 picture is nearer to one that was learned from than to one of as many others, `(n,)`."""
    far = [torch.cdist(to_unit(made).flatten(1), to_unit(to).flatten(1)).amin(1) for to in (learned, others)]
    return (far[0] < far[1]).double()


def measured(kept: Path, draws: int) -> dict[str, Any]:
    """What all ways did, with intervals; seeds, where there are several, share the noise and the held-out pictures."""
    who, metrics, differences, curves, pictures = judge(), {}, {}, {}, {}
    start = base(kept)
    before = both_errors(start)
    labels = torch.arange(draws) % 10
    plain = to_bytes(draw_batches(model_of(start), draws, DRAWING, seed=1, cond=labels, scale=GUIDANCE))
    metrics["base: loss of hearts"], metrics["base: loss of digits"] = (
        entry(mean_of(part).interval(0)) for part in before
    )
    metrics["base: digits right"] = entry(mean_of((judged(who, plain) == labels).double()).share(draws))
    test, test_labels = split_labelled_digits()[1]
    metrics["judge: digits right"] = entry(
        mean_of((judged(who, to_bytes(test)) == test_labels).double()).share(len(test))
    )
    real = hearts(-1, 200)
    metrics["judge: hearts known"] = entry(mean_of((judged(who, real) == HEART).double()).share(200))
    flat = lambda x: to_unit(x).flatten(1).double()  # noqa: E731
    floor = [kernel_distance(flat(real), flat(hearts(seed, draws))) for seed in range(20)]
    metrics["real hearts: distance"] = spread(floor)  # of as many as each way draws
    unseen = [nearer(hearts(-3, draws), hearts(seed), hearts(500 + seed)) for seed in range(SEEDS)]
    metrics["real hearts: nearer to what was learned over seeds"] = spread([float(one.mean()) for one in unseen])
    metrics["base's null: distance"] = {"value": round(kernel_distance(flat(real), flat(plain)), 4)}
    pictures["digits of the base"] = plain[:10]
    pictures["32 hearts"] = hearts(0)[:10]
    rows: dict[str, dict[str, Tensor]] = {}
    for name in WAYS:
        files = [file for seed in range(SEEDS) if (file := place(kept, name, seed)).exists()]
        if not files:
            continue
        loaded = [load_tensors(file) for file in files]
        seeds = [found for found, _ in loaded]
        metrics[f"{name}: weights"] = {"value": int(loaded[0][1]["weights"])}
        metrics[f"{name}: seconds"] = spread([float(more["seconds"]) for _, more in loaded], 1)
        per = {
            "loss of hearts": [found["hearts' losses"] for found in seeds],
            "loss of digits": [found["digits' losses"] for found in seeds],
            "forgetting": [found["digits' losses"] - before[1] for found in seeds],
            "digits right": [
                (judged(who, found["digits"]) == labels[: len(found["digits"])]).double() for found in seeds
            ],
            "hearts known": [(judged(who, found["hearts"]) == HEART).double() for found in seeds],
            "nearer to what was learned": [
                nearer(found["hearts"], hearts(seed), hearts(500 + seed)) for seed, found in enumerate(seeds)
            ],
            "change of digits": [
                (to_unit(found["digits"]) - to_unit(plain[: len(found["digits"])]))
                .square()
                .flatten(1)
                .mean(1)
                .sqrt()
                .double()
                for found in seeds
            ],
        }
        rows[name] = {what: torch.stack(values).mean(0) for what, values in per.items()}
        for what, values in per.items():
            estimate = mean_of(rows[name][what])
            share = what in ("digits right", "hearts known", "nearer to what was learned")
            found = estimate.share(draws * len(seeds)) if share else estimate.interval()
            metrics[f"{name}: {what}"] = entry(found)
            metrics[f"{name}: {what} over seeds"] = spread([float(value.mean()) for value in values])
        metrics[f"{name}: distance"] = spread([kernel_distance(flat(real), flat(found["hearts"])) for found in seeds])
        curve = torch.stack([found["curve"] for found in seeds])  # (seeds, asked, 2)
        curves[name] = {
            what: [[round(v, 5) for v in row] for row in curve[..., column].T.tolist()]
            for column, what in enumerate(("hearts", "digits"))
        }
        pictures[name] = seeds[0]["hearts"][:10]
        pictures[f"digits: {name}"] = seeds[0]["digits"][:10]
    for one, other in (
        ("all weights", "rank 4"),
        ("all weights", "all weights, prior"),
        ("rank 4", "rank 4, prior"),
        ("rank 4", "rank 1"),
        ("rank 16", "rank 4"),
        ("rank 4", "rank 4, attention alone"),
        ("word alone", "rank 1"),
    ):
        if one in rows and other in rows:
            for what in ("loss of hearts", "loss of digits"):
                differences[f"{one} - {other}: {what}"] = entry(mean_of(rows[one][what] - rows[other][what]).interval())
    control, seen = of_control(kept, who)
    return {
        "metrics": metrics | control["metrics"],
        "differences": differences | control["differences"],
        "curves": curves | {"control": control["curves"]},
        "pictures": {name: coded(images) for name, images in (pictures | seen).items()},
    }


def of_control(kept: Path, who: SVC) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """How well pictures agree with the sketches that they were drawn from."""
    file = place(kept, "control zero", 0)
    if not file.exists():
        return {"metrics": {}, "differences": {}, "curves": {}}, {}
    found, more = load_tensors(file)
    draws = len(found["drawn"])
    test, labels = (part[:draws] for part in split_labelled_digits()[1])
    sketches, metrics = outlined(to_bytes(test)), {}
    shares = {name: overlap(found[name], sketches).double() for name in ("drawn", "swapped", "absent", "plain")}
    for name, values in shares.items():
        metrics[f"sketch, {name}: overlap"] = entry(mean_of(values).interval(0, 1))
        wanted = (labels + 1) % 10 if name == "swapped" else labels
        metrics[f"sketch, {name}: class right"] = entry(
            mean_of((judged(who, found[name]) == wanted).double()).share(draws)
        )
    of_sketch = (judged(who, found["swapped"]) == labels).double()
    metrics["sketch, swapped: the sketch's class"] = entry(mean_of(of_sketch).share(draws))
    metrics["sketch: weights"] = {"value": int(more["weights"])}
    metrics["sketch: seconds"] = {"value": float(more["seconds"])}
    metrics["sketch, base: loss"] = entry(mean_of(errors(base(kept), *split_labelled_digits()[1])).interval(0))
    metrics["sketch, drawn: loss"] = entry(mean_of(found["losses"]).interval(0))
    differences = {
        f"{name} - plain: overlap": entry(mean_of(shares[name] - shares["plain"]).interval())
        for name in ("drawn", "absent")
    }
    curves = {"zero": [round(v, 5) for v in found["curve"].tolist()]}
    if (other := place(kept, "control ordinary", 0)).exists():
        ordinary = load_tensors(other)[0]
        curves["ordinary"] = [round(v, 5) for v in ordinary["curve"].tolist()]
        differences["ordinary - zero: loss"] = entry(mean_of(ordinary["losses"] - found["losses"]).interval())
    pictures = {"sketches": (255 * sketches[:10]).to(torch.uint8), "their pictures": to_bytes(test[:10])}
    pictures |= {f"sketch: {name}": found[name][:10] for name in shares}
    return {"metrics": metrics, "differences": differences, "curves": curves}, pictures


def coded(images: Tensor) -> list[str]:
    """Pictures of 8 x 8 pixels, each as 64 letters for grey levels from a to q."""
    levels = (images.float().flatten(1) * 16 / 255).round().long()
    return ["".join(chr(97 + level) for level in row) for row in levels.tolist()]


def main() -> None:
    """Train what is missing, or measure what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("base", "tune", "train", "control", "measure"))
    parser.add_argument("--only", default="", help="only the ways with this in their names, such as 'rank 4, seed 0'")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training; ten pictures")
    arguments = parser.parse_args()
    started, kept, quick = time.monotonic(), arguments.kept, arguments.quick
    torch.set_num_threads(1)
    kept.mkdir(parents=True, exist_ok=True)
    steps, draws = (2, 10) if quick else (STEPS, DRAWS)
    lines: dict[str, Any] = {
        "base": lambda: train_base(kept, 2 if quick else BASE_STEPS),
        "tune": lambda: tune(kept, steps),
        "train": lambda: (
            line
            for seed in range(SEEDS)
            for name in WAYS
            if arguments.only in f"{name}, seed {seed}"
            for line in train(kept, name, seed, steps, draws)
        ),
        "control": lambda: (
            line for zero in (True, False) for line in train_control(kept, zero, 2 if quick else CONTROL_STEPS, draws)
        ),
    }
    if arguments.task in lines:
        for line in lines[arguments.task]():
            print(line, flush=True)
        return
    result = measured(kept, draws)
    options = {
        "pictures": PICTURES,
        "steps": STEPS,
        "batch": BATCH,
        "seeds": SEEDS,
        "asked": list(ASKED),
        "control asked": sorted({*ASKED, CONTROL_STEPS}),
        "learning rates": rates(kept),
        "samples": draws,
        "scale": GUIDANCE,
        "sampler steps": DRAWING,
        "own samples a class": EACH,
        "base parameters": sum(p.numel() for p in base(kept).parameters()),
        "base steps": BASE_STEPS,
        **machine(),
    }
    metrics = result.pop("metrics")
    write(arguments.out / "finetuning.json", "fine-tuning", options, metrics, started, **result)


if __name__ == "__main__":
    main()
