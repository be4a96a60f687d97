"""Discrete diffusion: python -m benchmarks.discrete train, then measure.

`train` teaches small transformers of one size, three seeds each, on pages of this book: one kind guesses hidden letters (masked
diffusion), the other the next one (autoregressive), with the same steps and batches. One more guesses hidden letters for twice as
many steps, and one learns 8 x 8 digits of two grey levels. Each is kept as it goes, so that training may be stopped at any moment and
begun again; --only trains those with a word in their names.
`measure` asks them about pages that none has seen, and writes results/discrete.json: bits a letter with intervals over the held-out text,
what parallel decoding costs, infilling, and the digits. It takes whatever has been trained. --quick does hardly anything.

The text is that of the pages in the working tree when training first began. It is kept beside the networks, and its fingerprint goes into
the results; whoever wants the pages of today begins in an empty folder (--kept).
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.data.sets import split_digits
from course_lib.data.text import ALPHABET, decode, encode, fingerprint, prose, windows
from course_lib.diffusion.discrete import straight
from course_lib.diffusion.masked import any_order_bound, hidden_counts, hidden_loss, hide, restorer
from course_lib.evaluation.intervals import Estimate, Measured, mean_of
from course_lib.files import write_atomically
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.nets.symbols import SymbolTransformer, next_losses
from course_lib.sampling.steps import last, sample
from course_lib.sampling.unmasking import at_random, continued, likeliest_draw, most_certain, uncover
from course_lib.training.loop import fit
from course_lib.training.state import Loss

ROOT = Path(__file__).resolve().parents[1]
LEARNED = (
    *("01_fundamentals", "02_ddpm", "02_ddpm_training", "03_ddim", "04_score_based", "06_classifier_free_guidance"),
    *("07_evaluation", "08_thermodynamics", "09_variance", "10_design_space", "11_few_steps", "12_diffusion_gan"),
    *("13_latent", "14_diffusion_transformers"),
)
HELD_OUT = ("05_classifier_guidance", "10_flow_matching", "12_showdown")
K, LENGTH = len(ALPHABET), 128
SIZE: dict[str, Any] = {"width": 64, "depth": 3, "heads": 2}
SEEDS, STEPS, BATCH = 3, 1000, 16
KINDS = ("masked", "autoregressive", "digits", "masked longer")
LONGER = 2  # times the steps, of one seed
DECODING = (1, 2, 4, 8, 16, 32, 64, 128)  # steps, of windows of 128 letters
ORDERS = {"at random": at_random, "most certain": most_certain, "likeliest draw": likeliest_draw}
DRAWS, GAP = 8, 8  # of the bound for each window; letters to fill in
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "discrete"


class Text:
    """The prose of the pages as it was when the first network began to learn: kept beside the networks, with its fingerprint."""

    def __init__(self, kept: Path) -> None:
        file = kept / "text.json"
        if not file.exists():
            found = {name: prose((ROOT / "chapters" / name / "index.md").read_text()) for name in LEARNED + HELD_OUT}
            write_atomically(file, json.dumps(found).encode())
        pages = json.loads(file.read_text())
        self.learned, self.held_out = ([pages[name] for name in names] for names in (LEARNED, HELD_OUT))
        self.fingerprint = fingerprint(self.learned + self.held_out)

    def to_learn(self) -> Tensor:
        """The windows to learn from, `(n, LENGTH)`: each page's begin at eight places, so that a letter stands at many."""
        return torch.cat([windows(encode(page)[16 * shift :], LENGTH) for page in self.learned for shift in range(8)])

    def to_ask(self) -> Tensor:
        """Windows of pages that no network has seen, `(n, LENGTH)`."""
        return torch.cat([windows(encode(page), LENGTH) for page in self.held_out])


def binary_digits() -> tuple[Tensor, Tensor]:
    """The 8 x 8 digits with two grey levels as rows of 64 symbols: 1,500 to learn from, and 297 others."""
    train, test = split_digits()
    return (train > 0).long().flatten(1), (test > 0).long().flatten(1)


def build(kind: str) -> SymbolTransformer:
    """An untrained network."""
    if kind == "digits":
        return SymbolTransformer(2, (8, 8), places=True, **SIZE)
    return SymbolTransformer(K, (1, LENGTH), backwards=kind == "autoregressive", **SIZE)


def steps_of(kind: str) -> int:
    """How many steps of training a kind of network takes."""
    return LONGER * STEPS if kind == "masked longer" else STEPS


def loss_of(kind: str) -> Loss:
    """What a kind of network learns: nats a symbol."""

    def backwards(network: Any, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return next_losses(network, batch[0]).mean()

    def masked(network: Any, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        (x0,) = batch
        counts = hidden_counts(len(x0), x0.shape[1], generator)
        x_t = hide(x0, counts, network.symbols, generator)
        return hidden_loss(network, x0, x_t, network.symbols).mean() / x0.shape[1]

    return backwards if kind == "autoregressive" else masked


def place(kept: Path, kind: str, seed: int) -> Path:
    """Where a network's weights lie."""
    return kept / f"{kind.replace(' ', '-')}-{seed}.safetensors"


def train(kept: Path, kind: str, seed: int, steps: int) -> Iterator[str]:
    """Train one network, going on where it was left, and keep its averaged weights."""
    file = place(kept, kind, seed)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    state_file, clock_file = file.with_suffix(".state"), file.with_suffix(".clock.json")
    before = json.loads(clock_file.read_text())["seconds"] if clock_file.exists() else 0.0
    torch.manual_seed(seed)
    network, batch = build(kind), (binary_digits()[0] if kind == "digits" else Text(kept).to_learn(),)
    size = BATCH if kind != "digits" else 2 * BATCH  # half as many symbols each
    started = time.process_time()
    resume = state_file if state_file.exists() else None
    for state in fit(
        network, loss_of(kind), batch, steps, size, 3e-3, bf16=False, channels_last=False, seed=seed, resume=resume
    ):
        if state.step % 100 == 0 or state.step == steps:
            seconds = before + time.process_time() - started
            state.save(state_file)
            write_atomically(clock_file, json.dumps({"seconds": seconds}).encode())
            yield f"{kind}, seed {seed}: step {state.step}, loss {state.loss:.3f}, {seconds:.0f} s of a core"
    save_tensors(file, state.ema.module.state_dict(), {"seconds": f"{seconds:.1f}", "steps": str(steps)})


def trained(kept: Path, kind: str) -> dict[int, tuple[SymbolTransformer, float]]:
    """The trained networks of a kind by seed, each with the seconds that it took."""
    found = {}
    for seed in range(SEEDS):
        if (file := place(kept, kind, seed)).exists():
            tensors, metadata = load_tensors(file)
            network = build(kind)
            load_weights(network, tensors, file)
            found[seed] = network.eval(), float(metadata["seconds"])
    return found


def entry(estimate: Estimate, digits: int = 4) -> dict[str, float]:
    """A value with its interval, as the ledger has it."""
    return {name: round(value, digits) for name, value in estimate._asdict().items()}


def windows_mean(values: Tensor) -> Measured:
    """The mean of one value a window, `(n,)`, with neighbouring windows left out together: 50 parts, as the text runs."""
    return mean_of(values, torch.arange(len(values)) * min(50, len(values)) // len(values))


@torch.no_grad()
def bits_a_letter(kind: str, network: SymbolTransformer, x: Tensor, draws: int) -> Tensor:
    """Bits a symbol of each window `(n,)`: exact for an autoregressive model, one estimate of the bound for a masked one."""
    if kind == "autoregressive":
        nats = torch.cat([next_losses(network, part).double().sum(1) for part in x.split(64)])
    else:
        nats = any_order_bound(network, x, network.symbols, draws, torch.Generator().manual_seed(0))
    return nats / (x.shape[1] * torch.log(torch.tensor(2.0, dtype=torch.float64)))


def letter_frequencies(text: Text) -> Tensor:
    """Bits of each held-out letter, a mean a window `(n,)`, for one who knows how often each occurs in what was learned, and no more."""
    counts = torch.bincount(text.to_learn().flatten(), minlength=K).double() + 1
    return -(counts / counts.sum()).log2()[text.to_ask()].mean(1)


def compared(kept: Path, draws: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Bits a letter of every trained network, the seeds' mean, paired differences, and the curve over how much is hidden."""
    text = Text(kept)
    x, values, metrics, curves = text.to_ask(), {}, {}, {}
    metrics["letter frequencies: bits"] = entry(windows_mean(letter_frequencies(text)).interval(0))
    for kind in ("masked", "autoregressive", "masked longer"):
        networks = trained(kept, kind)
        for seed, (network, seconds) in networks.items():
            file = place(kept, f"bits of {kind} {draws}", seed)
            if not file.exists():
                save_tensors(file, {"bits": bits_a_letter(kind, network, x, draws)})
            values[kind, seed] = load_tensors(file)[0]["bits"]
            metrics[f"{kind}, seed {seed}: bits"] = entry(windows_mean(values[kind, seed]).interval(0))
            metrics[f"{kind}, seed {seed}: seconds"] = {"value": round(seconds, 1)}
        if networks:
            both = torch.stack([values[kind, seed] for seed in networks])
            metrics[f"{kind}: bits"] = entry(windows_mean(both.mean(0)).interval(0))
            each = both.mean(1).tolist()
            metrics[f"{kind}: bits over seeds"] = {
                "value": round(sum(each) / len(each), 4),
                "low": round(min(each), 4),
                "high": round(max(each), 4),
            }
    shared = sorted(
        {seed for kind, seed in values if kind == "masked"} & {s for k, s in values if k == "autoregressive"}
    )
    differences = {}
    if shared:
        gap = torch.stack([values["masked", seed] - values["autoregressive", seed] for seed in shared])
        differences["masked - autoregressive: bits"] = entry(windows_mean(gap.mean(0)).interval())
    for kind in ("masked", "masked longer"):
        if networks := trained(kept, kind):
            curves[kind] = guessing(networks[min(networks)][0], x)
    return metrics, differences, curves


@torch.no_grad()
def guessing(network: SymbolTransformer, x: Tensor) -> dict[str, float]:
    """Bits a hidden letter by how many of the letters are hidden."""
    generator, found = torch.Generator().manual_seed(1), {}
    for m in (1, 8, 16, 32, 64, 96, 112, 128):
        x_t = hide(x, torch.full((len(x),), m), network.symbols, generator)
        found[str(m)] = round(
            float(hidden_loss(network, x, x_t, network.symbols).mean()) / (x.shape[1] * 0.6931471805599453), 4
        )
    return found


def words(text: str) -> list[str]:
    """The words of a text without those that its ends may have cut."""
    return [word for word in "".join(c if c.isalpha() else " " for c in text).split()[1:-1] if len(word) > 1]


def decoded(kept: Path, n: int, steps: tuple[int, ...], judge_seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What parallel decoding makes: words that the learned pages have, different words, and a judge's bits, by steps and order."""
    metrics: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    known, models, judges = (
        set(words(" ".join(Text(kept).learned))),
        trained(kept, "masked"),
        trained(kept, "autoregressive"),
    )
    if not models or not judges:
        return metrics, examples
    network, judge = models[min(models)][0], judges.get(judge_seed, judges[max(judges)])[0]
    denoise = restorer(network, K)

    def score(name: str, x: Tensor) -> None:
        texts = [words(decode(row)) for row in x]
        found = windows_mean(
            torch.tensor([sum(w in known for w in t) / max(len(t), 1) for t in texts], dtype=torch.float64)
        )
        metrics[f"{name}: known words"] = entry(found.interval(0, 1))
        metrics[f"{name}: judge's bits"] = entry(windows_mean(bits_a_letter("autoregressive", judge, x, 1)).interval(0))
        every = [word for text in texts for word in text]
        metrics[f"{name}: different words"] = {"value": round(len(set(every)) / max(len(every), 1), 4)}
        examples[name] = decode(x[0])
        print(name, metrics[f"{name}: known words"], flush=True)

    for order, rule in ORDERS.items():
        for count in steps:
            generator = torch.Generator().manual_seed(0)
            step = uncover(denoise, straight, K, rule, generator)
            start = torch.full((n, LENGTH), K)
            score(
                f"{order}, {count} steps",
                last(sample(step, start, torch.linspace(1, 0, count + 1, dtype=torch.float64))),
            )
    one = judges[min(judges)][0]
    score(
        "autoregressive, 128 steps",
        continued(one, torch.zeros(n, 0, dtype=torch.long), LENGTH, torch.Generator().manual_seed(0)),
    )
    real = Text(kept).to_ask()
    score("held-out pages", real[:: max(1, len(real) // n)][:n])
    return metrics, examples


@torch.no_grad()
def infilled(kept: Path, n: int, gap: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A gap in the middle of held-out windows, drawn letter by letter, with both sides shown or the left alone, and what fits.

    For each way the share of letters that are the true ones, and what a judge, an autoregressive model of another seed, says of the
    gap's letters and of the eight true ones after it. The masked model is that of the longer training, where there is one.
    """
    models, backwards = trained(kept, "masked longer") or trained(kept, "masked"), trained(kept, "autoregressive")
    if not models or not backwards:
        return {}, {}
    x = Text(kept).to_ask()
    x = x[:: max(1, len(x) // n)][:n]
    begin, end = LENGTH // 2 - gap // 2, LENGTH // 2 + gap - gap // 2
    denoise, generator = restorer(models[min(models)][0], K), torch.Generator().manual_seed(0)
    step = uncover(denoise, straight, K, at_random, generator)
    shown = x.clone()
    shown[:, begin:end] = K
    both = last(sample(step, shown, torch.linspace(gap / LENGTH, 0, gap + 1, dtype=torch.float64)))
    onward = x.clone()
    one = backwards[min(backwards)][0]
    onward[:, :end] = continued(one, x[:, :begin], end, torch.Generator().manual_seed(0))
    judge, metrics = backwards[max(backwards)][0], {}
    for name, made in (("true letters", x), ("masked, both sides", both), ("autoregressive, left side", onward)):
        bits = next_losses(judge, made).double() / torch.log(torch.tensor(2.0, dtype=torch.float64))
        right = (made[:, begin:end] == x[:, begin:end]).double().mean(1)
        if made is not x:
            metrics[f"infilling, {name}: letters right"] = entry(windows_mean(right).interval(0, 1))
        metrics[f"infilling, {name}: judge's bits in the gap"] = entry(
            windows_mean(bits[:, begin:end].mean(1)).interval(0)
        )
        metrics[f"infilling, {name}: judge's bits after it"] = entry(
            windows_mean(bits[:, end : end + 8].mean(1)).interval(0)
        )
    rows = range(0, min(n, 120), 20)
    texts = {"shown": shown, "true": x, "filled": both, "continued": onward}
    return metrics, {str(row): {name: decode(text[row]) for name, text in texts.items()} for row in rows}


def of_digits(kept: Path, draws: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bits of a held-out digit, and digits drawn in few and in many steps and completed from their upper half."""
    networks, (_, test) = trained(kept, "digits"), binary_digits()
    if not networks:
        return {}, {}
    network, seconds = networks[min(networks)]
    bits = 64 * bits_a_letter("digits", network, test, draws)
    counts = binary_digits()[0].double().mean(0).clamp(1 / 1500, 1 - 1 / 1500)
    alone = -torch.where(test == 1, counts.log2(), (1 - counts).log2()).sum(1)
    metrics = {
        "digits: bits": entry(windows_mean(bits).interval(0)),
        "pixels alone: bits": entry(windows_mean(alone).interval(0)),
    }
    metrics["digits: seconds"] = {"value": round(seconds, 1)}
    denoise, pictures = restorer(network, 2), {}
    for count in (1, 4, 16, 64):
        generator = torch.Generator().manual_seed(0)
        times = torch.linspace(1, 0, count + 1, dtype=torch.float64)
        x = last(sample(uncover(denoise, straight, 2, at_random, generator), torch.full((12, 64), 2), times))
        pictures[f"{count} steps"] = ["".join(map(str, row)) for row in x.tolist()]
    shown = test[:12].clone()
    shown[:, 32:] = 2
    times = torch.linspace(0.5, 0, 33, dtype=torch.float64)
    x = last(sample(uncover(denoise, straight, 2, at_random, torch.Generator().manual_seed(0)), shown, times))
    for name, rows in (("shown", shown), ("completed", x), ("true", test[:12])):
        pictures[name] = ["".join(map(str, row)) for row in rows.tolist()]
    return metrics, pictures


def once(file: Path, ask: Callable[[], tuple[dict[str, Any], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a measurement found, from its file where it has been made before."""
    if not file.exists():
        write_atomically(file, json.dumps(ask()).encode())
    first, second = json.loads(file.read_text())
    return first, second


def measure(kept: Path, quick: bool) -> dict[str, Any]:
    """All that the ledger keeps; what has been drawn is kept beside the networks."""
    counts, n, filled_in = ((1, 2), 2, (2, 4)) if quick else (DECODING, 32, (120, GAP))
    digits, pictures = once(kept / f"digits {n}.json", lambda: of_digits(kept, 1 if quick else 2 * DRAWS))
    filling, filled = once(kept / f"filled {n}.json", lambda: infilled(kept, *filled_in))
    decoding, examples = once(kept / f"decoded {n}.json", lambda: decoded(kept, n, counts, SEEDS - 1))
    metrics, differences, curves = compared(kept, 1 if quick else DRAWS)
    return {
        "metrics": metrics | decoding | filling | digits,
        "differences": differences,
        "curves": curves,
        "examples": {"decoded": examples, "filled": filled},
        "pictures": pictures,
    }


def main() -> None:
    """Train what is missing, or measure what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "measure"))
    parser.add_argument(
        "--only", default="", help="only the networks with this in their names, such as 'masked, seed 0'"
    )
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training; two windows")
    arguments = parser.parse_args()
    started = time.monotonic()
    torch.set_num_threads(1)
    if arguments.task == "train":
        for seed, kind in ((seed, kind) for seed in range(SEEDS) for kind in KINDS if seed == 0 or kind in KINDS[:2]):
            if arguments.only in f"{kind}, seed {seed}":
                for line in train(arguments.kept, kind, seed, 2 if arguments.quick else steps_of(kind)):
                    print(line, flush=True)
        return
    result = measure(arguments.kept, arguments.quick)
    text = Text(arguments.kept)
    parameters = {kind: sum(p.numel() for p in build(kind).parameters()) for kind in KINDS}
    options = {
        "text": text.fingerprint,
        "learned": list(LEARNED),
        "held out": list(HELD_OUT),
        "letters learned": sum(map(len, text.learned)),
        "letters held out": text.to_ask().numel(),
        "window": LENGTH,
        "draws": DRAWS,
        "gap": GAP,
        "parameters": parameters,
        "steps": STEPS,
        "steps of the longer training": LONGER * STEPS,
        "batch": BATCH,
        "seeds": len(trained(arguments.kept, "masked")),
        **machine(),
    }
    metrics = result.pop("metrics")
    seconds = sum(found["value"] for name, found in metrics.items() if name.endswith(": seconds"))  # of training
    write(arguments.out / "discrete.json", "discrete diffusion", options, metrics, started - seconds, **result)


if __name__ == "__main__":
    main()
