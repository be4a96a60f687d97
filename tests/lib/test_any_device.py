"""Every public function that takes tensors works where they lie: on the pretended device it gives the CPU's values, there, without a wait.

A function is called with its tensors on the device, a sampler's times on the CPU, and all randomness from one generator, once the CPU's and
once the device's. `WAITS` names those that may wait for the device, and `BESIDE` those whose result lies on the CPU, each with its reason.
"""

import copy
import functools
import importlib
import inspect
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import course_lib
from course_lib import draws, types
from course_lib.data import clothes, degradations, images, ink, shadows, spectra, toys
from course_lib.diffusion import (
    binomial,
    bound,
    compression,
    continuous,
    corrections,
    discrete,
    distillation,
    exact,
    flow_map,
    gaussian,
    losses,
    masked,
    measurements,
    predictions,
    schedules,
    weights,
)
from course_lib.evaluation import (
    classes,
    evaluate,
    features,
    frechet,
    inception,
    intervals,
    kernel,
    modes,
    neighbours,
    reconstruction,
)
from course_lib.evaluation.reference import Reference
from course_lib.models import adapters, asking, store, tensors, tuned
from course_lib.nets import (
    autoencoders,
    blocks,
    classifier,
    clip,
    conditions,
    control,
    designs,
    dit,
    embeddings,
    equivariant,
    flows,
    hybrid,
    latent,
    lora,
    mlp,
    multiscale,
    norms,
    pictures,
    preconditioned,
    sequences,
    sets,
    standard,
    symbols,
    texts,
    transformers,
    unet,
    words,
)
from course_lib.pages import plotting
from course_lib.recipes import adversarial as adversarial_recipes
from course_lib.recipes import autoencoding, classification
from course_lib.recipes import diffusion as diffusion_recipes
from course_lib.recipes import few_steps as few_steps_recipes
from course_lib.recipes import finetuning as finetuning_recipes
from course_lib.recipes import palette as palette_recipes
from course_lib.recipes import variance as variance_recipes
from course_lib.sampling import (
    generate,
    guidance,
    implicit,
    inversion,
    langevin,
    leaps,
    likelihood,
    ode,
    restoring,
    sde,
    steps,
    straightness,
    unmasking,
    variance,
)
from course_lib.training import adversarial, coupling, distributed, loop, state
from tests.lib.pretended import DEVICE, generator, move, pretend, waits
from tests.lib.tensors import CONTINUOUS, MIXTURE, normal


@pytest.fixture(autouse=True)
def no_bf16_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some processors have units for bf16, which the library then takes; the pretended device has none, and values are compared."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


class Place:
    """Where a call's tensors lie, and its generator; on the CPU both stay there."""

    def __init__(self, moved: bool = False, drawn_there: bool = False) -> None:
        self.moved, self.drawn_there, self.draws = moved, drawn_there, 0
        self.device = DEVICE if moved else torch.device("cpu")

    def __call__(self, thing: Any) -> Any:
        thing = copy.deepcopy(thing)
        return move(thing) if self.moved else thing

    @property
    def generator(self) -> torch.Generator:
        self.draws += 1
        return generator(7) if self.drawn_there else torch.Generator().manual_seed(7)


def weighted(network: nn.Module) -> nn.Module:
    """The network with all weights moved, so that nothing is zero any more."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return network.eval()


COSINE, VP = schedules.cosine(20), continuous.VP()
PROCESS = gaussian.GaussianDiffusion(COSINE)
FLIPS = binomial.BinomialDiffusion(schedules.erasing(20), 0.3)
HIDING = masked.absorbing(discrete.straight, 3)
LETTERS, SOME_HIDDEN = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]]), torch.tensor([[0, 3, 3, 0], [3, 2, 0, 3]])
LETTER_ODDS = torch.cat([normal(2, 4, 3, seed=11).softmax(-1), torch.zeros(2, 4, 1, dtype=torch.float64)], -1)
FLAT = normal(4, 2, seed=1)  # points, float64
OTHER = normal(4, 2, seed=2)
PLANE = normal(4, 8, 4, 4, seed=3).float()  # (B, C, H, W) inside a network
WIDE = normal(4, 16, seed=4).float()  # a condition vector
IMAGES = normal(6, 1, 8, 8, seed=5).float().clamp(-1, 1)
BYTES = images.to_bytes(IMAGES)
COLOUR = images.to_bytes(normal(4, 3, 20, 20, seed=6).clamp(-1, 1))
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
TOKENS = PLANE.flatten(2).mT  # (B, N, C)
TURNS = normal(16, 2, seed=6).float()  # angles for heads of four channels
CLOTHES = normal(6, 1, 28, 28, seed=7).float().clamp(-1, 1)
MEASURED, KINDS = normal(20, 4, seed=8).float(), torch.arange(20) % 10  # measures of clothes, and what they are
SAID = torch.arange(20).reshape(4, 5) % 7  # words of captions
STEPS = torch.tensor([1, 7, 12, 20])  # training times of a table
REAL = torch.tensor([0.1, 0.4, 0.7, 1.0])  # those of a continuous schedule
T, S = torch.tensor(12), torch.tensor(7)  # a sampler's times stay on the CPU
T1, S1 = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
GRID = COSINE.grid(4)
ROWS, MORE_ROWS = normal(12, 3, seed=7), normal(10, 3, seed=8)
LOGS = normal(10, 3, seed=9).log_softmax(-1)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
COUNTS = torch.tensor([2.0, 0, 1, 1, 1, 1, 0, 2, 1, 1], dtype=torch.float64)
BITS, OTHER_BITS = (FLAT > 0).double(), (OTHER > 0).double()
POINTS = weighted(mlp.MLP(width=16, depth=1, classes=3)).double()
SMALL = weighted(unet.UNet(width=8, multipliers=(1, 2), attention=(1,), classes=3))
EDM_UNET = weighted(preconditioned.PreconditionedUNet(width=8, multipliers=(1, 2), attention=(1,)))
CODERS = [
    weighted(autoencoders.GaussianAutoencoder(latent=4, width=8)),
    weighted(autoencoders.QuantisedAutoencoder(latent=4, codes=8, width=8)),
]
READER = weighted(classifier.ConvClassifier(widths=(8, 8, 8)))
LATENT = weighted(latent.LatentUNet(latent=2, width=8, multipliers=(1, 2), attention=(1,)))
COUPLED = weighted(flows.CouplingFlow(dim=2, layers=2, width=8))
FIRST_COUPLING = next(layer for layer in COUPLED.modules() if isinstance(layer, flows.Coupling))
PARTS = transformers.TokenAttention(8, heads=2, qk_norm=True), transformers.perceptron(8, 16)
ADAPTIVE = transformers.AdaLNZero(8, 16, *PARTS)
TELLER = weighted(classifier.Classifier(width=8, multipliers=(1, 2), blocks=1, classes=3))
TWO_HEADS = weighted(mlp.MLP(width=16, depth=1, outputs=4))  # says a variance, too
LEAPERS = {  # by the sampler that is theirs
    name: weighted(mlp.MLP(width=16, depth=1, leaps=counts)) for name, counts in (("ddim", (1, 2)), ("consistency", ()))
}
LEAPER = weighted(mlp.MLP(width=16, depth=1, leaps=(1, 2))).double()  # is told where a leap ends
LINES = weighted(mlp.MLP(width=16, depth=1, classes=3))  # float32, as models are drawn from
SPELLER = weighted(symbols.SymbolTransformer(3, (1, 4), 8, 1, 2, places=True))
ROW = weighted(sequences.FrameTransformer(3, 5, 16, 1, 2, classes=3))
LOOSE = weighted(sequences.FrameTransformer(3, None, 16, 1, 2, numbers=2))
TOLD_NUMBERS = weighted(sequences.Told(16, None, 2, 1.0))
ANSWER = weighted(sequences.Answer(16, 3, 16))
FRAMES_ = normal(6, 5, 3, seed=12).float()
ATOMS_ = torch.tensor([[2, 4, 1, 1, 0], [3, 1, 1, 1, 0], [2, 1, 1, 1, 1]]).repeat(2, 1)
POSELESS = weighted(equivariant.EquivariantNetwork(16, 2))
WAVES = normal(2, 64, seed=13).float()
BLOCK = normal(2, 4, 4, 4, seed=14).float().abs()
REMEMBERING = weighted(symbols.SymbolTransformer(3, (1, 4), 8, 1, 2, backwards=True))
POINT_TELLER = weighted(nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 3))).double()


def model(at: Place, schedule: types.Schedule = COSINE) -> types.Denoiser:
    """A network's denoiser of points."""
    return predictions.denoiser(at(POINTS), predictions.V, schedule)


def half(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser that is no network."""
    return x / 2


def score(at: Place) -> Callable[[Tensor, Tensor], Tensor]:
    denoise = model(at)
    return lambda x, t: predictions.to_score(denoise(x, t), x, t, COSINE)


def oracle() -> exact.ExactDiffusion:
    """The oracle of a mixture that lies on the CPU, as the pages build it."""
    return exact.ExactDiffusion(MIXTURE, COSINE)


def drawing(at: Place) -> generate.Denoising:
    return generate.Denoising(at(LINES), predictions.V, COSINE, (2,), torch.linspace(0, 1, 21, dtype=torch.float64))


def telling(at: Place) -> Callable[[Tensor, Tensor], Tensor]:
    network = at(POINT_TELLER)
    return lambda x, t: network(x)


def run(at: Place, step: types.Step, grid: Tensor = GRID, x: Tensor = FLAT) -> Tensor:
    return steps.last(steps.sample(step, at(x), grid))


def mender(at: Place) -> generate.Denoising:
    """A network that is told a picture."""
    torch.manual_seed(0)
    network = weighted(pictures.PictureUNet(channels=1, shown=2, size=8, width=8, multipliers=(1, 2), attention=()))
    return generate.Denoising(at(network), predictions.V, COSINE, (1, 8, 8))


def designer(at: Place) -> generate.Denoising:
    """A network that is told a class and wishes."""
    torch.manual_seed(0)
    network = weighted(designs.DesignUNet(width=8, multipliers=(1, 2), attention=(), classes=3, wishes=("a", "b")))
    return generate.Denoising(at(network), predictions.V, COSINE, (1, 8, 8))


def wishes(n: int) -> dict[str, Tensor]:
    """What such a network is told, on the CPU."""
    return {"class": LABELS[:n], "wishes": torch.linspace(0, 1, 2 * n).reshape(n, 2)}


def towers(at: Place) -> clip.Clip:
    """Two small towers."""
    torch.manual_seed(0)
    return at(weighted(clip.Clip(7, 5, 8, 16, 1, 4, 8)))


def reader(at: Place) -> texts.TextUNet:
    """A small network that is told texts of four words."""
    torch.manual_seed(0)
    return at(weighted(texts.TextUNet(4, 4, (1,), width=8, multipliers=(1, 2), attention=())))


def with_hole(at: Place) -> degradations.Degraded:
    """Pictures of which the right half is missing."""
    unknown = torch.zeros(6, 1, 8, 8)
    unknown[..., 4:] = 1
    return degradations.Degraded(*at((IMAGES, unknown)))


def wanted(at: Place) -> restoring.Wanted:
    """What a method of restoring is made of, for points whose first coordinate is known."""
    y, noise = at(FLAT[:, :1]), draws.standard_normal(at.generator)
    return restoring.Wanted(model(at), PROCESS, measurements.along(OTHER[0], 0.1), y, noise, 1.0)


def flow_of_bumps() -> flow_map.ExactFlowMap:
    """The flow map of a mixture that lies on the CPU, as the pages build it."""
    return flow_map.ExactFlowMap(exact.two_bumps(), continuous.Straight())


def of_leaps(at: Place, loss: Callable[..., Tensor]) -> Tensor:
    """The value of a loss of leaps."""
    return loss(at(LEAPER), at(FLAT), at.generator).detach()


def learned(at: Place) -> tuple[types.Denoiser, types.Variance]:
    network = at(weighted(nn.Linear(2, 4)).double())
    return variance.learned_variance(lambda x, t, cond: network(x), predictions.EPS, PROCESS)


def training(at: Place, **options: Any) -> Iterator[state.TrainState]:
    """Two steps of a classifier's training, on images that lie on the CPU."""
    loss = classification.classification_loss(lambda x, generator: x)
    return loop.fit(at(TELLER), loss, (BYTES, LABELS), steps=2, batch_size=2, **options)


def trained(at: Place, **options: Any) -> list[Tensor]:
    """The weights after two steps of training, then their averages."""
    *_, state = training(at, **options)
    return [p.detach() for network in (state.network, state.ema.module) for p in network.parameters()]


def sloped(at: Place) -> nn.Module:
    """A layer that holds a gradient."""
    layer = at(weighted(nn.Linear(FLAT.shape[-1], 2)).double())
    layer(at(FLAT)).square().sum().backward()
    return layer


def adapted(at: Place) -> lora.LoRA:
    """A linear layer with an adapter that has learned something."""
    return weighted(lora.LoRA(at(nn.Linear(16, 8)), rank=2)).requires_grad_(False)


def answers(at: Place, network: nn.Module) -> Tensor:
    """What a small U-Net says."""
    return network(at(IMAGES), at(REAL.repeat(2)[:6]), at(LABELS)).detach()


def readapted(at: Place) -> Tensor:
    """A network on the device with the adapters of a file that was written for it."""
    with tempfile.TemporaryDirectory() as folder:
        file, network = Path(folder) / "adapter.safetensors", at(SMALL)
        lora.add_lora(network)
        weighted(network)
        adapters.save_lora(file, network)
        lora.remove_lora(network)
        adapters.load_lora(file, network)
    return answers(at, network)


def retuned(at: Place) -> Tensor:
    """A network on the device with the adapters and the new word of a file that was written for it."""
    with tempfile.TemporaryDirectory() as folder:
        file, network, again = Path(folder) / "tuned.safetensors", at(SMALL), at(SMALL)
        finetuning_recipes.prepared(network, 1, 2)
        weighted(network)
        tuned.save_tuned(file, network, ["heart"], "")
        weighted(again)
        tuned.load_tuned(file, again, "")
    return answers(at, again)


def steered(at: Place) -> tuple[nn.Module, dict[str, Tensor]]:
    """A controlled U-Net whose copy has learned something, and what it is told."""
    torch.manual_seed(0)
    network = weighted(control.ControlledUNet(copy.deepcopy(SMALL), 1, 8)).requires_grad_(False)
    return at(network), at({"shown": IMAGES, "class": LABELS})


def said(at: Place) -> Tensor:
    """The rows of a table of three classes with a new word, for classes, the word and the null."""
    torch.manual_seed(0)
    table = at(weighted(words.GrownTable(embeddings.LabelEmbedding(8, 3))))
    return table(at(torch.tensor([0, 2, 3, 4]))).detach()


def taught_a_word(at: Place) -> list[Tensor]:
    """The weights of a network after a step of fine-tuning."""
    network = at(SMALL)
    torch.manual_seed(0)
    finetuning_recipes.prepared(network, 1, 0)
    model = generate.Denoising(network, predictions.V, COSINE, (1, 8, 8))
    *_, last = finetuning_recipes.finetune(model, (BYTES, torch.full((6,), 3)), 1, 2)
    return [p.detach() for p in last.network.parameters()]


def own(at: Place) -> generate.Denoising:
    """A model of three classes."""
    return generate.Denoising(at(SMALL), predictions.V, COSINE, (1, 8, 8))


def two_gaussians(at: Place) -> tuple[corrections.Gaussian, corrections.Gaussian]:
    """Gaussian data in three dimensions, old and new."""
    old, new = (part.T @ part / 6 + torch.eye(3) for part in (ROWS[:6], ROWS[6:]))
    return corrections.Gaussian(*at((ROWS[0], old))), corrections.Gaussian(*at((ROWS[1], new)))


def merged(at: Place) -> Tensor:
    adapter = adapted(at)
    adapter.merge()
    return adapter(at(WIDE))


def with_fresh_adapters(at: Place) -> Tensor:
    network = at(SMALL)
    lora.add_lora(network)
    return answers(at, network)


def coded(ask: Callable[[Any, Tensor], Any]) -> Callable[[Place], Any]:
    """The same question to both kinds of autoencoders, with images."""
    return lambda at: [ask(at(network), at(images.to_unit(COLOUR))) for network in CODERS]


def standard_unet(at: Place) -> standard.StandardUNet:
    """A small U-Net of diffusers that is told rows of five tokens."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"size": 4, "widths": (8, 8), "heads": 2, "text_width": 8, "text_depth": 1}
    return at(weighted(standard.StandardUNet(7, 0, (5, 6, 6, 6, 6), 8, **small)))


def standard_coder(at: Place) -> standard.StandardAutoencoder:
    """A small autoencoder of diffusers."""
    torch.manual_seed(0)
    return at(weighted(standard.StandardAutoencoder(widths=(8, 8))))


def decoding(at: Place) -> generate.Denoising:
    """A model of latents, with its autoencoder."""
    network = weighted(unet.UNet(channels=4, width=8, multipliers=(1,), attention=()))
    return generate.Denoising(at(network), predictions.V, COSINE, (4, 4, 4), None, at(CODERS[0]))


def remembered(network: Any, x: Tensor) -> Tensor:
    """The running mean square after one batch."""
    network.remember(x)
    return network.mean_square


def duelled(at: Place) -> list[Tensor]:
    """Both losses of a denoising diffusion GAN, with the penalty."""
    judge = at(weighted(classifier.Classifier(channels=2, width=8, multipliers=(1, 2), blocks=1, classes=1)))
    loss, opponent = adversarial_recipes.duel(
        at(LATENT), judge, 2, gaussian.GaussianDiffusion(schedules.cosine(3)), 0.1, 1e-3, 1.0
    )
    batch = (at(IMAGES[:4]),)
    return [of(network, batch, at.generator).detach() for of, network in ((loss, at(LATENT)), (opponent.loss, judge))]


def in_turns(at: Place) -> list[Tensor]:
    """The weights of a classifier and of its opponent, which asks the contrary."""
    loss = classification.classification_loss(lambda x, generator: x)
    opponent = at(TELLER)
    contrary = state.Opponent(opponent, lambda network, batch, generator: -loss(network, batch, generator), 1e-3)
    *_, state_ = training(at, opponent=contrary)
    return [p.detach() for network in (state_.network, opponent) for p in network.parameters()]


def resumed(at: Place) -> list[Tensor]:
    """The weights and the optimiser's moments of a state that was written and read again."""
    state = next(training(at))
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder) / "state.safetensors")
        *_, last = training(at, resume=Path(folder) / "state.safetensors")
    moments = [tensor for entries in last.optimizer.state.values() for tensor in entries.values()]
    return [*(p.detach() for p in last.network.parameters()), *moments]


def reread(at: Place) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        tensors.save_tensors(
            Path(folder) / "x.safetensors",
            {
                "x": at(FLAT),
                "y": at(FLAT).T,
            },
        )
        return tensors.load_tensors(Path(folder) / "x.safetensors")[0]


def refilled(at: Place) -> list[Tensor]:
    """A network on the device that takes weights from a file, which are on the CPU."""
    network = at(SMALL)
    tensors.load_weights(network, {name: 2 * tensor for name, tensor in SMALL.state_dict().items()}, Path("weights"))
    return list(network.state_dict().values())


def reloaded(at: Place) -> list[Tensor]:
    """The weights of a shipped model that was loaded onto the device, saved from there, and loaded again."""
    network, card = store.load("digits-ddpm", at.device)
    with tempfile.TemporaryDirectory() as folder:
        store.save(Path(folder) / "model.safetensors", network, card, torch.float16)
        network, _ = store.load(folder, at.device)
    return list(network.state_dict().values())


def per_schedule(ask: Callable[[Any, Tensor], Any]) -> Callable[[Place], Any]:
    """The same question to every continuous schedule."""
    asked = [*CONTINUOUS, continuous.Straight(), continuous.Interpolated(COSINE)]
    return lambda at: [ask(schedule, at(REAL.double())) for schedule in asked]


def reference(at: Place) -> Reference:
    """A reference of a few rows."""
    return Reference("", frechet.moments(at(ROWS)), at(ROWS), features.Features(at(MORE_ROWS), at(LOGS)))


def sampled(at: Place) -> features.Features:
    """The features of ten samples."""
    return features.Features(at(MORE_ROWS), at(LOGS))


CALLS: dict[str, Callable[[Place], Any]] = {
    # draws
    "draws.normal": lambda at: draws.normal((3, 2), at.generator, device=at.device),
    "draws.normal_like": lambda at: draws.normal_like(at(FLAT), at.generator),
    "draws.uniform": lambda at: draws.uniform((3, 2), at.generator, device=at.device),
    "draws.integers": lambda at: draws.integers(0, 9, (3, 2), at.generator, device=at.device),
    "draws.categories": lambda at: draws.categories(at(MIXTURE.weights), 5, at.generator),
    "draws.standard_normal": lambda at: draws.standard_normal(at.generator)(at(FLAT)),
    "draws.place": lambda at: [draws.place(None, at.device) == at.device, draws.place(at.generator, "cpu") is not None],
    # types
    "types.per_sample": lambda at: types.per_sample(at(REAL), at(FLAT)),
    "types.per_sample: on the CPU": lambda at: types.per_sample(REAL, at(FLAT)),
    "types.per_sample: one number": lambda at: types.per_sample(T1, at(FLAT)) * at(FLAT),
    "types.per_entry": lambda at: types.per_entry(at(OTHER), at(FLAT)),
    "types.per_entry: on the CPU": lambda at: types.per_entry(OTHER, at(FLAT)),
    "types.on_device": lambda at: types.on_device(T, at(FLAT)),
    "types.on_device: one a sample": lambda at: types.on_device(at(STEPS), at(FLAT)),
    "types.on_device: one a sample on the CPU": lambda at: types.on_device(STEPS, at(FLAT)),
    "types.anywhere": lambda at: types.anywhere(at(FLAT) > 100),
    "types.check_same_shape": lambda at: types.check_same_shape(x=at(FLAT), y=at(OTHER)),
    "types.check_decreasing": lambda at: types.check_decreasing(at(GRID)),
    # data
    "data.images.to_unit": lambda at: images.to_unit(at(BYTES)),
    "data.images.to_bytes": lambda at: images.to_bytes(at(IMAGES)),
    "data.images.shifted": lambda at: images.shifted(at(IMAGES), 2, at.generator),
    "data.images.flipped": lambda at: images.flipped(at(IMAGES), at.generator),
    "data.images.dequantised": lambda at: images.dequantised(at(BYTES), at.generator),
    "data.ink.written": lambda at: ink.written(at(IMAGES), ink.ink("ada", IMAGES.shape[-1], grain=4).to(at(IMAGES))),
    "data.ink.read": lambda at: ink.read(at(IMAGES), ink.ink("ada", IMAGES.shape[-1], grain=4).to(at(IMAGES))),
    **{f"data.toys.{name}": lambda at, toy=toy: toy(8, at.generator) for name, toy in toys.TOY_SETS.items()},
    "data.shadows.shadows": lambda at: shadows.shadows(at(BLOCK)),
    "data.shadows.carved": lambda at: shadows.carved(at(BLOCK[:, :3])),
    "data.shadows.outlines": lambda at: shadows.outlines(at(BLOCK)),
    "data.spectra.spectrum": lambda at: torch.view_as_real(spectra.spectrum(at(WAVES), 16)),
    "data.spectra.overlap_add": lambda at: spectra.overlap_add(spectra.spectrum(at(WAVES), 16)),
    "data.spectra.griffin_lim": lambda at: spectra.griffin_lim(
        at(WAVES.view(2, 16, 4)[..., :3].abs()), 2, at.generator
    ),
    "data.spectra.inconsistency": lambda at: spectra.inconsistency(
        at(WAVES), spectra.spectrum(at(WAVES.flip(0)), 16).abs()
    ),
    "data.spectra.to_loudness": lambda at: spectra.to_loudness(at(WAVES.abs()), 3.0),
    "data.spectra.from_loudness": lambda at: spectra.from_loudness(at(WAVES), 3.0),
    # diffusion.binomial
    "diffusion.binomial.BinomialDiffusion.prior": lambda at: FLIPS.prior((4, 2), at.generator, device=at.device),
    "diffusion.binomial.BinomialDiffusion.forward": lambda at: FLIPS.forward(at(BITS), at(STEPS), at.generator),
    "diffusion.binomial.BinomialDiffusion.backward": lambda at: FLIPS.backward(
        at(BITS), at(OTHER_BITS), T, S, at.generator
    ),
    "diffusion.binomial.BinomialDiffusion.transition": lambda at: FLIPS.transition(at(BITS), at(STEPS) - 1, at(STEPS)),
    "diffusion.binomial.BinomialDiffusion.posterior": lambda at: FLIPS.posterior(
        at(BITS), at(OTHER_BITS), at(STEPS), at(STEPS) - 1
    ),
    "diffusion.binomial.BinomialDiffusion.divergence": lambda at: FLIPS.divergence(
        at(BITS), at(FLAT.sigmoid()), at(OTHER_BITS), T, S
    ),
    "diffusion.binomial.bit_denoiser": lambda at: binomial.bit_denoiser(at(POINTS))(at(BITS), T).detach(),
    "diffusion.binomial.drawn": lambda at: binomial.drawn(at(FLAT.sigmoid()), at.generator),
    "diffusion.binomial.likelihood": lambda at: binomial.likelihood(at(BITS), at(FLAT.sigmoid())),
    "diffusion.binomial.bernoulli_kl": lambda at: binomial.bernoulli_kl(at(FLAT.sigmoid()), at(OTHER.sigmoid())),
    "diffusion.binomial.bernoulli_entropy": lambda at: binomial.bernoulli_entropy(at(FLAT.sigmoid())),
    "diffusion.binomial.binomial_bound": lambda at: list(
        binomial.binomial_bound(lambda x, t: (x + 1) / 3, at(BITS), FLIPS, at.generator, GRID)
    ),
    "diffusion.compression.water_filling": lambda at: list(compression.water_filling(at(ROWS[:, 0] ** 2), 0.1)),
    # diffusion.bound
    "diffusion.bound.Bound.total": lambda at: bound.Bound(*at((WIDE[0], WIDE, WIDE[1]))).total,
    "diffusion.bound.Bound.bits_per_dimension": lambda at: bound.Bound(
        *at((WIDE[0], WIDE, WIDE[1]))
    ).bits_per_dimension(2),
    "diffusion.bound.variational_bound": lambda at: bound.variational_bound(
        model(at), at(FLAT), PROCESS, bound.gaussian_log_prob, steps.unit_variance(COSINE), at.generator, GRID
    ),
    "diffusion.bound.variational_bound: discretised": lambda at: bound.variational_bound(
        model(at), at(FLAT) / 4, PROCESS, bound.discretised_log_prob, generator=at.generator, times=GRID
    ),
    "diffusion.bound.gaussian_kl": lambda at: bound.gaussian_kl(at(FLAT), T1, at(OTHER), at(REAL)),
    "diffusion.bound.gaussian_log_prob": lambda at: bound.gaussian_log_prob(at(FLAT), at(OTHER), at(REAL)),
    "diffusion.bound.discretised_log_prob": lambda at: bound.discretised_log_prob(at(IMAGES), at(IMAGES) / 2, T1),
    # diffusion.continuous
    "diffusion.continuous.check_time": lambda at: continuous.check_time(at(REAL), 1.0),
    "diffusion.continuous.drift_and_diffusion": lambda at: continuous.drift_and_diffusion(VP, at(REAL.double())),
    "diffusion.continuous.Continuous.signal": per_schedule(lambda schedule, t: schedule.signal(t)),
    "diffusion.continuous.Continuous.noise": per_schedule(lambda schedule, t: schedule.noise(t)),
    "diffusion.continuous.Continuous.rates": per_schedule(lambda schedule, t: schedule.rates(t)),
    "diffusion.continuous.Continuous.times": lambda at: [
        s.times(4, at.generator, at.device) for s in [*CONTINUOUS, continuous.Straight()]
    ],
    "diffusion.continuous.Continuous.grid": lambda at: VP.grid(4),
    "diffusion.continuous.VP.integral": lambda at: VP.integral(at(REAL)),
    "diffusion.continuous.Interpolated.time_at": lambda at: continuous.Interpolated(COSINE).time_at(at(REAL)),
    # diffusion.discrete, diffusion.masked
    "diffusion.discrete.straight": lambda at: discrete.straight(at(REAL)),
    "diffusion.discrete.beside": lambda at: discrete.beside(at(REAL[:2]), at(LETTER_ODDS)) * at(LETTER_ODDS),
    "diffusion.discrete.chosen": lambda at: discrete.chosen(at(LETTER_ODDS), at.generator),
    "diffusion.discrete.categorical_kl": lambda at: discrete.categorical_kl(
        at(LETTER_ODDS), at(LETTER_ODDS.flip(0))
    ).nan_to_num(),
    "diffusion.discrete.SymbolDiffusion.prior": lambda at: HIDING.prior((2, 4), at.generator, at.device),
    "diffusion.discrete.SymbolDiffusion.forward": lambda at: HIDING.forward(at(LETTERS), T1, at.generator),
    "diffusion.discrete.SymbolDiffusion.backward": lambda at: HIDING.backward(
        at(LETTER_ODDS), at(SOME_HIDDEN), T1, S1, at.generator
    ),
    "diffusion.discrete.SymbolDiffusion.transition": lambda at: HIDING.transition(
        at(LETTERS), at(REAL[:2]) / 2, at(REAL[:2])
    ),
    "diffusion.discrete.SymbolDiffusion.posterior": lambda at: HIDING.posterior(
        at(LETTER_ODDS), at(SOME_HIDDEN), at(REAL[:2]), at(REAL[:2]) / 2
    ),
    "diffusion.discrete.SymbolDiffusion.divergence": lambda at: HIDING.divergence(
        at(LETTERS), at(LETTER_ODDS), at(torch.full_like(LETTERS, 3)), T1, S1
    ),
    "diffusion.discrete.SymbolDiffusion.probabilities": lambda at: HIDING.probabilities(at(LETTERS)),
    "diffusion.discrete.symbol_bound": lambda at: list(
        discrete.symbol_bound(
            masked.restorer(at(SPELLER), 3), at(LETTERS), HIDING, torch.tensor([1.0, 0.5, 0.0]), at.generator
        )
    ),
    "diffusion.masked.restorer": lambda at: masked.restorer(at(SPELLER), 3)(at(SOME_HIDDEN), T1).detach(),
    "diffusion.masked.hide": lambda at: masked.hide(at(LETTERS), at(torch.tensor([1, 3])), 3, at.generator),
    "diffusion.masked.hidden_counts": lambda at: masked.hidden_counts(6, 4, at.generator, str(at.device)),
    "diffusion.masked.hidden_loss": lambda at: masked.hidden_loss(
        at(SPELLER), at(LETTERS), at(SOME_HIDDEN), 3
    ).detach(),
    "diffusion.masked.any_order_bound": lambda at: masked.any_order_bound(at(SPELLER), at(LETTERS), 3, 2, at.generator),
    # diffusion.distillation
    "diffusion.distillation.distillation_loss": lambda at: distillation.distillation_loss(
        half, at(FLAT), at(STEPS), at(OTHER), PROCESS
    ),
    "diffusion.distillation.distilled": lambda at: distillation.distilled(half, PROCESS, at(FLAT), 3, at.generator),
    # diffusion.exact
    "diffusion.exact.Mixture.sample": lambda at: MIXTURE.to(at.device).sample(5, at.generator),
    "diffusion.exact.Mixture.to": lambda at: vars(MIXTURE.to(at.device)),
    "diffusion.exact.Mixture.mean": lambda at: MIXTURE.to(at.device).mean(),
    "diffusion.exact.Mixture.covariance": lambda at: MIXTURE.to(at.device).covariance(),
    "diffusion.exact.ExactDiffusion.log_prob": lambda at: oracle().log_prob(at(FLAT), at(STEPS)),
    "diffusion.exact.ExactDiffusion.class_posterior": lambda at: oracle().class_posterior(at(FLAT), T),
    "diffusion.exact.ExactDiffusion.score": lambda at: oracle().score(at(FLAT), T),
    "diffusion.exact.ExactDiffusion.eps": lambda at: oracle().eps(at(FLAT), at(STEPS)),
    "diffusion.exact.ExactDiffusion.denoise": lambda at: oracle().denoise(at(FLAT), T),
    "diffusion.exact.ExactDiffusion.covariance": lambda at: oracle().covariance(at(FLAT), T),
    "diffusion.exact.ExactDiffusion.draw": lambda at: oracle().draw(at(FLAT), T, at.generator),
    "diffusion.exact.ExactDiffusion.reverse": lambda at: vars(oracle().reverse(at(FLAT[0]), T, S)),
    "diffusion.exact.ExactDiffusion.conditional": lambda at: oracle().conditional(1).denoise(at(FLAT), T),
    "diffusion.exact.ExactDiffusion.conditional: of one on the device": lambda at: (
        exact.ExactDiffusion(MIXTURE.to(at.device), COSINE).conditional(1).denoise(at(FLAT), T)
    ),
    "diffusion.exact.IdealDenoiser": lambda at: exact.IdealDenoiser(OTHER, COSINE)(at(FLAT), T),
    "diffusion.exact.IdealDenoiser.weights": lambda at: exact.IdealDenoiser(OTHER, COSINE).weights(at(FLAT), at(STEPS)),
    # diffusion.flow_map
    "diffusion.flow_map.ExactFlowMap": lambda at: flow_of_bumps()(at(FLAT[:, :1]), T1, S1),
    "diffusion.flow_map.ExactFlowMap.distribution": lambda at: flow_of_bumps().distribution(at(FLAT[:, :1]), at(REAL)),
    "diffusion.flow_map.ExactFlowMap.mean_velocity": lambda at: flow_of_bumps().mean_velocity(
        at(FLAT[:, :1]), at(REAL), at(REAL / 2)
    ),
    # diffusion.gaussian
    "diffusion.gaussian.GaussianDiffusion.prior": lambda at: PROCESS.prior((4, 2), at.generator, device=at.device),
    "diffusion.gaussian.GaussianDiffusion.forward": lambda at: PROCESS.forward(at(FLAT), at(STEPS), at.generator),
    "diffusion.gaussian.GaussianDiffusion.backward": lambda at: PROCESS.backward(
        at(FLAT), at(OTHER), T, S, at.generator
    ),
    "diffusion.gaussian.GaussianDiffusion.diffuse": lambda at: PROCESS.diffuse(at(FLAT), at(STEPS), at(OTHER)),
    "diffusion.gaussian.GaussianDiffusion.diffuse: times on the CPU": lambda at: PROCESS.diffuse(
        at(FLAT), STEPS, at(OTHER)
    ),
    "diffusion.gaussian.GaussianDiffusion.advance": lambda at: PROCESS.advance(
        at(FLAT), at(STEPS) - 1, at(STEPS), at(OTHER)
    ),
    "diffusion.gaussian.GaussianDiffusion.transition": lambda at: PROCESS.transition(at(STEPS) - 1, at(STEPS)),
    "diffusion.gaussian.GaussianDiffusion.posterior_weights": lambda at: PROCESS.posterior_weights(
        at(STEPS), at(STEPS) - 1
    ),
    "diffusion.gaussian.GaussianDiffusion.posterior": lambda at: PROCESS.posterior(
        at(FLAT), at(OTHER), at(STEPS), at(STEPS) - 1
    ),
    "diffusion.gaussian.GaussianDiffusion.bridge": lambda at: PROCESS.bridge(
        at(FLAT), at(OTHER), at(STEPS), at(STEPS) - 1, 0.5
    ),
    "diffusion.gaussian.GaussianDiffusion.bridge_weight": lambda at: PROCESS.bridge_weight(
        at(STEPS), at(STEPS) - 1, 0.5
    ),
    "diffusion.gaussian.widened": lambda at: gaussian.widened(T1, S1, at(FLAT), at(FLAT)),
    "diffusion.gaussian.check_order": lambda at: gaussian.check_order(at(STEPS) - 1, at(STEPS)),
    "diffusion.gaussian.is_end": lambda at: gaussian.is_end(S),
    # diffusion.losses, diffusion.predictions
    "diffusion.losses.denoising_loss": lambda at: losses.denoising_loss(
        at(POINTS), at(FLAT), at(STEPS), at(OTHER), PROCESS, predictions.V, at(LABELS[:4]), COSINE.signal
    ),
    "diffusion.predictions.conditional_score": lambda at: predictions.conditional_score(at(FLAT), at(OTHER), T1, S1),
    "diffusion.predictions.tweedie": lambda at: predictions.tweedie(at(FLAT), at(OTHER), T1, S1),
    "diffusion.predictions.denoiser": lambda at: [
        predictions.denoiser(at(POINTS), p, COSINE, at(LABELS[:4]), clip=1.0)(at(FLAT), T)
        for p in predictions.PREDICTIONS.values()
    ],
    # diffusion.weights
    "diffusion.weights.snr": lambda at: weights.snr(COSINE, at(STEPS)),
    "diffusion.weights.edm": lambda at: weights.edm(0.5)(at(REAL)),
    "diffusion.weights.min_snr": lambda at: weights.min_snr(COSINE)(at(STEPS)),
    "diffusion.weights.likelihood": lambda at: weights.likelihood(VP)(at(REAL)),
    "diffusion.weights.for_output": lambda at: [
        weights.for_output(weights.min_snr(COSINE), p, COSINE)(at(STEPS)) for p in predictions.PREDICTIONS.values()
    ],
    "diffusion.predictions.clipped": lambda at: predictions.clipped(model(at), 0.5)(at(FLAT), at(STEPS)),
    "diffusion.predictions.denoiser: one time a sample": lambda at: model(at)(at(FLAT), at(STEPS)),
    "diffusion.predictions.denoiser: times on the CPU": lambda at: model(at)(at(FLAT), STEPS),
    "diffusion.predictions.to_eps": lambda at: predictions.to_eps(at(FLAT), at(OTHER), at(STEPS), COSINE),
    "diffusion.predictions.to_score": lambda at: predictions.to_score(at(FLAT), at(OTHER), T, COSINE),
    # diffusion.schedules
    "diffusion.schedules.TableSchedule.alpha": lambda at: schedules.TableSchedule(at(COSINE.alpha_bar)).alpha,
    "diffusion.schedules.TableSchedule.at": lambda at: COSINE.at(at(STEPS)),
    "diffusion.schedules.TableSchedule.signal": lambda at: COSINE.signal(at(STEPS)),
    "diffusion.schedules.TableSchedule.noise": lambda at: COSINE.noise(at(STEPS)),
    "diffusion.schedules.TableSchedule.times": lambda at: COSINE.times(5, at.generator, at.device),
    "diffusion.schedules.TableSchedule.grid": lambda at: COSINE.grid(5),
    "diffusion.schedules.from_betas": lambda at: schedules.from_betas(at(REAL) / 2).alpha_bar,
    "diffusion.schedules.from_clipped": lambda at: schedules.from_clipped(at(COSINE.alpha_bar), 0.9).alpha_bar,
    "diffusion.schedules.log_snr": lambda at: schedules.log_snr(COSINE, at(STEPS)),
    "diffusion.schedules.span": lambda at: schedules.span(at(REAL)),
    # evaluation
    "evaluation.classes.classifier_score": lambda at: classes.classifier_score(at(LOGS)),
    "evaluation.classes.classifier_score: weights on the CPU": lambda at: classes.classifier_score(at(LOGS), COUNTS),
    "evaluation.classes.effective_classes": lambda at: classes.effective_classes(at(LOGS)),
    "evaluation.classes.effective_classes: weights on the CPU": lambda at: classes.effective_classes(at(LOGS), COUNTS),
    "evaluation.classes.label_accuracy": lambda at: classes.label_accuracy(at(LOGS), at(CLASSES)),
    "evaluation.classes.label_accuracy: labels on the CPU": lambda at: classes.label_accuracy(
        at(LOGS), CLASSES, COUNTS
    ),
    "evaluation.evaluate.alike": lambda at: evaluate.alike(at(CLASSES), at(LABELS)),
    "evaluation.evaluate.real_draw": lambda at: evaluate.real_draw(reference(at), 5, None, 0)[0],
    "evaluation.evaluate.real_draw: classes": lambda at: evaluate.real_draw(reference(at), 5, LABELS, 0),
    "evaluation.evaluate.floors": lambda at: evaluate.floors(reference(at), 8, draws=2),
    "evaluation.evaluate.statistics": lambda at: {
        key: statistic(None) for key, statistic in evaluate.statistics(reference(at), sampled(at), at(CLASSES)).items()
    },
    "evaluation.evaluate.measure": lambda at: evaluate.measure(reference(at), sampled(at), CLASSES % 2),
    "evaluation.evaluate.measure: classes on the device": lambda at: evaluate.measure(
        reference(at), sampled(at), at(CLASSES % 2)
    ),
    "evaluation.features.row_weights": lambda at: features.row_weights(at(ROWS), None),
    "evaluation.features.row_weights: on the CPU": lambda at: features.row_weights(at(MORE_ROWS), COUNTS),
    "evaluation.features.features": lambda at: features.features(at(TELLER), BYTES, batch_size=4),
    "evaluation.features.features: images on the device": lambda at: features.features(at(TELLER), at(IMAGES)),
    "evaluation.frechet.moments": lambda at: frechet.moments(at(ROWS)),
    "evaluation.frechet.moments: weights on the CPU": lambda at: frechet.moments(at(MORE_ROWS), COUNTS),
    "evaluation.frechet.gaussian_frechet_distance": lambda at: frechet.gaussian_frechet_distance(
        frechet.moments(at(ROWS)), frechet.moments(at(MORE_ROWS))
    ),
    "evaluation.frechet.square_root": lambda at: frechet.square_root(frechet.moments(at(ROWS)).covariance),
    "evaluation.frechet.frechet_statistic": lambda at: frechet.frechet_statistic(at(ROWS), at(MORE_ROWS))(COUNTS),
    "evaluation.frechet.frechet_distance": lambda at: frechet.frechet_distance(at(ROWS), at(MORE_ROWS)),
    "evaluation.frechet.frechet_distance: moments on the CPU": lambda at: frechet.frechet_distance(
        frechet.moments(ROWS), at(MORE_ROWS)
    ),
    "evaluation.inception.inception_metrics": lambda at: inception.inception_metrics(
        at(COLOUR), at(COLOUR.flip(0)), at(Pixels()), at(Pixels())
    ),
    "evaluation.inception.in_colour": lambda at: list(inception.in_colour(at(IMAGES), 4)),
    "evaluation.intervals.measured": lambda at: intervals.measured(
        lambda w: classes.effective_classes(at(LOGS), w), intervals.cut(10, at(CLASSES))
    ),
    "evaluation.intervals.mean_of": lambda at: intervals.mean_of(at(FLAT[:, 0]), torch.tensor([0, 0, 1, 1])),
    "evaluation.intervals.by_size": lambda at: intervals.by_size(
        lambda rows: float(at(LOGS)[rows].mean()), 10, [4, 8], repeats=3
    ),
    "evaluation.kernel.kernel_distance": lambda at: kernel.kernel_distance(at(ROWS), at(MORE_ROWS)),
    "evaluation.kernel.kernel_distance: weights on the CPU": lambda at: kernel.kernel_distance(
        at(ROWS), at(MORE_ROWS), COUNTS
    ),
    "evaluation.kernel.kernel_statistic": lambda at: kernel.kernel_statistic(at(ROWS), at(MORE_ROWS))(None),
    "evaluation.modes.Modes.covered": lambda at: modes.Modes(at(torch.tensor([3, 0, 2])), 5).covered,
    "evaluation.modes.Modes.hits": lambda at: modes.Modes(at(torch.tensor([3, 0, 2])), 6).hits,
    "evaluation.modes.Modes.divergence": lambda at: modes.Modes(at(torch.tensor([3, 0, 2])), 5).divergence,
    "evaluation.modes.modes_of_points": lambda at: modes.modes_of_points(at(FLAT), at(OTHER), 1.0),
    "evaluation.modes.modes_of_classes": lambda at: modes.modes_of_classes(at(LABELS), 3),
    "evaluation.neighbours.manifold": lambda at: neighbours.manifold(at(ROWS), at(MORE_ROWS)),
    "evaluation.neighbours.recall_statistic": lambda at: neighbours.recall_statistic(at(ROWS), at(MORE_ROWS))(COUNTS),
    "evaluation.neighbours.coverage_statistic": lambda at: neighbours.coverage_statistic(at(ROWS), at(MORE_ROWS))(
        COUNTS
    ),
    "evaluation.neighbours.radii": lambda at: neighbours.radii(at(ROWS), 2),
    "evaluation.neighbours.copies": lambda at: neighbours.copies(at(IMAGES[:2]), at(IMAGES[2:4]), at(IMAGES[4:])),
    "evaluation.neighbours.Copies.near": lambda at: neighbours.Copies(at(REAL), at(REAL)).near,
    "evaluation.neighbours.Copies.share": lambda at: neighbours.Copies(at(REAL), at(REAL)).share,
    # models
    "models.asking.asked": lambda at: asking.asked(drawing(at), 6, scale=2.0),
    "models.store.save": reloaded,
    "models.store.load": reloaded,
    "evaluation.reconstruction.reconstructed": lambda at: reconstruction.reconstructed(at(CODERS[0]), COLOUR),
    "evaluation.reconstruction.encoded": lambda at: reconstruction.encoded(at(CODERS[0]), COLOUR),
    "evaluation.reconstruction.psnr": lambda at: reconstruction.psnr(at(BYTES), at(BYTES).flip(-1)),
    "evaluation.reconstruction.mean_interval": lambda at: list(reconstruction.mean_interval(at(ROWS[:, 0]))),
    "models.store.load_denoising": lambda at: store.load_denoising("digits-ddpm", at.device)[0].device == at.device,
    "models.tensors.save_tensors": reread,
    "models.tensors.load_weights": refilled,
    "models.tensors.digest": lambda at: tensors.digest({"x": at(FLAT)}),
    # nets
    "models.adapters.load_lora": readapted,
    "models.tuned.load_tuned": retuned,
    "nets.words.GrownTable": said,
    "nets.control.ControlledUNet": lambda at: (lambda net, told: net(at(IMAGES), at(REAL.repeat(2)[:6]), told))(
        *steered(at)
    ),
    "diffusion.corrections.Gaussian.noisy": lambda at: list(two_gaussians(at)[0].noisy(0.8, 0.6)),
    "diffusion.corrections.best_affine": lambda at: list(corrections.best_affine(two_gaussians(at)[0], 0.8, 0.6)),
    "diffusion.corrections.excess": lambda at: corrections.excess(
        corrections.best_affine(two_gaussians(at)[0], 0.8, 0.6), two_gaussians(at)[1], 0.8, 0.6
    ),
    "diffusion.corrections.best_correction": lambda at: corrections.best_correction(
        at(ROWS[:3]), two_gaussians(at)[0].covariance, 2
    ),
    "diffusion.corrections.adapted": lambda at: [
        part for bias in (True, False) for part in corrections.adapted(*two_gaussians(at), 0.8, 0.6, 2, bias)
    ],
    "nets.lora.LoRA": lambda at: adapted(at)(at(WIDE)),
    "nets.lora.LoRA.weight": lambda at: adapted(at).weight,
    "nets.lora.LoRA.update": lambda at: adapted(at).update(),
    "nets.lora.LoRA.merge": merged,
    "nets.lora.add_lora": with_fresh_adapters,
    "nets.blocks.zero_initialised": lambda at: blocks.zero_initialised(at(nn.Linear(2, 2))).weight.detach(),
    "nets.blocks.ResidualBlock": lambda at: at(weighted(blocks.ResidualBlock(8, 4, 16)))(at(PLANE), at(WIDE)),
    "nets.blocks.attend": lambda at: blocks.attend(*at((WIDE[None], WIDE[None], WIDE[None]))),
    "nets.blocks.multi_head": lambda at: blocks.multi_head(at(torch.cat([WIDE] * 3, -1)[None]), 4),
    "nets.blocks.SelfAttention": lambda at: at(weighted(blocks.SelfAttention(8)))(at(PLANE)),
    "nets.blocks.Downsample": lambda at: at(weighted(blocks.Downsample(8, 4)))(at(PLANE)),
    "nets.blocks.Upsample": lambda at: at(weighted(blocks.Upsample(8, 4)))(at(PLANE)),
    "nets.blocks.let_through": lambda at: blocks.let_through(
        at(PLANE), at(weighted(nn.Linear(16, 1))).requires_grad_(False), at(WIDE), at(PLANE)
    ),
    "nets.blocks.check_image": lambda at: blocks.check_image(at(PLANE), 8, 2),
    "nets.classifier.Classifier": lambda at: at(TELLER)(at(IMAGES[:4]), at(STEPS)),
    "nets.classifier.Classifier.features": lambda at: at(TELLER).features(at(IMAGES)),
    "nets.classifier.ConvClassifier": lambda at: at(weighted(classifier.ConvClassifier(widths=(8, 8, 8))))(
        at(COLOUR).float()
    ),
    "nets.classifier.ConvClassifier.features": lambda at: at(
        weighted(classifier.ConvClassifier(widths=(8, 8, 8)))
    ).features(at(COLOUR).float()),
    "nets.classifier.Stage": lambda at: at(weighted(classifier.Stage(8, 4)))(at(PLANE)),
    "nets.classifier.log_probabilities": lambda at: classifier.log_probabilities(at(TELLER), at(IMAGES)),
    "nets.classifier.accuracy": lambda at: classifier.accuracy(at(TELLER), at(IMAGES), at(LABELS)),
    "nets.classifier.accuracy: labels on the CPU": lambda at: classifier.accuracy(at(TELLER), at(IMAGES), LABELS),
    "nets.conditions.Labels.check": lambda at: conditions.Labels(3).check(at(LABELS)),
    "nets.conditions.Labels.null": lambda at: conditions.Labels(3).null(4),
    "nets.conditions.Vectors.check": lambda at: conditions.Vectors((2,)).check(at(FLAT)),
    "nets.conditions.Vectors.null": lambda at: conditions.Vectors((2,)).null(4),
    "nets.conditions.Until.check": lambda at: conditions.Until((1,)).check(at(REAL)),
    "nets.conditions.Until.null": lambda at: conditions.Until((1,)).null(4),
    "nets.conditions.Wishes.check": lambda at: conditions.Wishes(("a", "b")).check(at(FLAT.clamp(0, 1))),
    "nets.conditions.Wishes.null": lambda at: conditions.Wishes(("a", "b")).null(4),
    "nets.conditions.Tokens.check": lambda at: conditions.Tokens(7, (6,) * 5).check(at(SAID)),
    "nets.conditions.Tokens.null": lambda at: conditions.Tokens(7, (6,) * 5).null(4),
    "nets.conditions.check_condition": lambda at: conditions.check_condition(
        {"label": conditions.Labels(3)}, {"label": at(LABELS)}, 6
    ),
    "nets.conditions.null_of": lambda at: conditions.null_of({"label": conditions.Labels(3)}, 4),
    "nets.conditions.each": lambda at: conditions.each(torch.add, {"a": at(FLAT)}, {"a": at(OTHER)}),
    "nets.conditions.moved": lambda at: conditions.moved({"a": FLAT}, at.device),
    "nets.conditions.rows": lambda at: conditions.rows({"a": at(FLAT)}, 1, 3),
    "nets.conditions.joined": lambda at: conditions.joined(at(LABELS), conditions.Labels(3).null(2)),
    "nets.conditions.dropped": lambda at: conditions.dropped(conditions.Labels(3), at(LABELS), 0.5, at.generator),
    "nets.autoencoders.PlainBlock": lambda at: at(weighted(autoencoders.PlainBlock(8)))(at(PLANE)),
    "nets.autoencoders.Encoder": lambda at: at(weighted(autoencoders.Encoder(1, (8, 8), 4, 1, 2)))(at(IMAGES)),
    "nets.autoencoders.Decoder": lambda at: at(weighted(autoencoders.Decoder(1, (8, 8), 8, 1, 2)))(at(PLANE)),
    "nets.autoencoders.Autoencoder.scale": coded(lambda network, x: network.scale),
    "nets.autoencoders.Autoencoder.raw": coded(lambda network, x: network.raw(x).detach()),
    "nets.autoencoders.Autoencoder.encode": coded(lambda network, x: network.encode(x).detach()),
    "nets.autoencoders.Autoencoder.decode": coded(lambda network, x: network.decode(network.encode(x)).detach()),
    "nets.autoencoders.Autoencoder.remember": coded(remembered),
    "nets.autoencoders.GaussianAutoencoder": lambda at: [
        out.detach() for out in at(CODERS[0])(at(images.to_unit(COLOUR)), at.generator)
    ],
    "nets.autoencoders.GaussianAutoencoder.moments": lambda at: [
        out.detach() for out in at(CODERS[0]).moments(at(images.to_unit(COLOUR)))
    ],
    "nets.autoencoders.QuantisedAutoencoder": lambda at: [
        out.detach() for out in at(CODERS[1])(at(images.to_unit(COLOUR)))
    ],
    "nets.autoencoders.QuantisedAutoencoder.words": lambda at: at(CODERS[1]).words(at(PLANE[:, :4])),
    "nets.autoencoders.QuantisedAutoencoder.quantise": lambda at: at(CODERS[1]).quantise(at(PLANE[:, :4])).detach(),
    "nets.autoencoders.nearest": lambda at: autoencoders.nearest(at(ROWS), at(MORE_ROWS)),
    "nets.autoencoders.straight_through": lambda at: autoencoders.straight_through(at(FLAT), at(OTHER)),
    "nets.autoencoders.PatchDiscriminator": lambda at: at(weighted(autoencoders.PatchDiscriminator(width=8)))(
        at(images.to_unit(COLOUR))
    ),
    "nets.blocks.CrossAttention": lambda at: at(weighted(blocks.CrossAttention(8, 16)))(at(PLANE), at(WIDE[:, None])),
    "nets.classifier.ConvClassifier.pyramid": lambda at: at(READER).pyramid(at(images.to_unit(COLOUR))),
    "nets.embeddings.sinusoidal_embedding": lambda at: embeddings.sinusoidal_embedding(at(REAL), 8),
    "nets.embeddings.with_octaves": lambda at: embeddings.with_octaves(at(FLAT), 3),
    "nets.embeddings.position_embedding": lambda at: embeddings.position_embedding(at(PLANE)),
    "nets.embeddings.TimeEmbedding": lambda at: at(weighted(embeddings.TimeEmbedding(8)))(at(STEPS)),
    "nets.embeddings.LearnedTimeEmbedding": lambda at: at(weighted(embeddings.LearnedTimeEmbedding(8, 20)))(at(REAL)),
    "nets.embeddings.or_null": lambda at: embeddings.or_null(None, at(STEPS), 3),
    "nets.embeddings.LabelEmbedding": lambda at: [
        at(weighted(embeddings.LabelEmbedding(8, 3)))(*at(which)) for which in ((LABELS,), (None, REAL))
    ],
    "nets.embeddings.ConditionEmbedding.parts": lambda at: at(weighted(embeddings.ConditionEmbedding(8, 3))).parts(
        at(STEPS), at(LABELS[:4])
    ),
    "nets.embeddings.ConditionEmbedding": lambda at: at(weighted(embeddings.ConditionEmbedding(8, 3)))(
        at(STEPS), at(LABELS[:4])
    ),
    "nets.hybrid.Hybrid": lambda at: at(weighted(hybrid.Hybrid(width=4, multipliers=(1, 2), depth=1)))(
        at(IMAGES[:4]), at(STEPS)
    ),
    "nets.preconditioned.coefficients": lambda at: preconditioned.coefficients(at(REAL), 0.5),
    "nets.preconditioned.Preconditioned": lambda at: at(preconditioned.Preconditioned(POINTS, 0.5))(
        at(FLAT), at(REAL), at(LABELS[:4])
    ),
    "nets.preconditioned.Preconditioned.takes": lambda at: at(preconditioned.Preconditioned(POINTS, 0.5)).takes,
    "nets.preconditioned.Preconditioned: a U-Net": lambda at: at(EDM_UNET)(at(IMAGES[:4]), at(REAL)),
    "nets.mlp.MLP": lambda at: at(POINTS)(at(FLAT), at(STEPS), at(LABELS[:4])),
    "nets.multiscale.MultiScale": lambda at: at(weighted(multiscale.MultiScale(width=4, depth=2, hidden=4)))(
        at(IMAGES[:4]), at(STEPS)
    ),
    "nets.multiscale.MultiScaleConvolution": lambda at: at(weighted(multiscale.MultiScaleConvolution(8, 4, 2)))(
        at(PLANE)
    ),
    "nets.multiscale.bump_weights": lambda at: multiscale.bump_weights(at(REAL), at(torch.linspace(0, 1, 5))),
    "nets.norms.ChannelNorm": lambda at: norms.ChannelNorm()(at(PLANE)),
    "nets.norms.RMSNorm": lambda at: norms.RMSNorm()(at(PLANE)),
    "nets.norms.group_norm": lambda at: norms.group_norm(8)(at(PLANE)),
    "nets.norms.build_norm": lambda at: norms.build_norm("group", 8)(at(PLANE)),
    "nets.equivariant.present": lambda at: equivariant.present(at(ATOMS_), at(FRAMES_)),
    "nets.equivariant.centred": lambda at: equivariant.centred(at(FRAMES_), at(ATOMS_)),
    "nets.equivariant.bells": lambda at: equivariant.bells(at(FRAMES_.square())),
    "nets.equivariant.EquivariantLayer": lambda at: [
        one.detach()
        for one in at(POSELESS.layers[0])(
            at(FRAMES_), at(WIDE[:1, None].expand(6, 5, 16)), at(FRAMES_[..., :1] * 0 + 1)
        )
    ],
    "nets.equivariant.EquivariantNetwork": lambda at: at(POSELESS)(
        at(FRAMES_), at(REAL.repeat(2)[:6]), at(ATOMS_)
    ).detach(),
    "nets.sequences.FrameTransformer": lambda at: at(ROW)(at(FRAMES_), at(REAL.repeat(2)[:6]), at(LABELS)).detach(),
    "nets.sequences.FrameTransformer: a set": lambda at: at(LOOSE)(at(FRAMES_), at(REAL.repeat(2)[:6])).detach(),
    "nets.sets.Waves": lambda at: sets.Waves()(at(FRAMES_)),
    "nets.sequences.Told": lambda at: at(TOLD_NUMBERS)(at(REAL), at(WIDE[:, :2])).detach(),
    "nets.sequences.Answer": lambda at: at(ANSWER)(at(TOKENS.mT), at(TOKENS.mT[..., :3]), at(WIDE)).detach(),
    "nets.symbols.SymbolTransformer": lambda at: at(SPELLER)(at(SOME_HIDDEN)).detach(),
    "nets.symbols.LookingBack": lambda at: at(weighted(symbols.LookingBack(8, 2)))(at(TOKENS)).detach(),
    "nets.symbols.next_losses": lambda at: symbols.next_losses(at(REMEMBERING), at(LETTERS)).detach(),
    "sampling.unmasking.at_random": lambda at: unmasking.at_random(at(LETTER_ODDS), at(LETTERS), at.generator),
    "sampling.unmasking.most_certain": lambda at: unmasking.most_certain(at(LETTER_ODDS), at(LETTERS)),
    "sampling.unmasking.likeliest_draw": lambda at: unmasking.likeliest_draw(at(LETTER_ODDS), at(LETTERS)),
    "sampling.unmasking.uncover": lambda at: unmasking.uncover(
        masked.restorer(at(SPELLER), 3), discrete.straight, 3, generator=at.generator
    )(at(SOME_HIDDEN), T1, S1),
    "sampling.unmasking.continued": lambda at: unmasking.continued(
        at(REMEMBERING), at(LETTERS[:, :1]), 3, at.generator
    ),
    "nets.transformers.to_windows": lambda at: transformers.to_windows(at(PLANE), 2),
    "nets.transformers.from_windows": lambda at: transformers.from_windows(
        transformers.to_windows(at(PLANE.movedim(1, -1)), 2), 2
    ),
    "nets.transformers.TokenAttention": lambda at: at(weighted(transformers.TokenAttention(8, window=2, shift=1)))(
        at(PLANE.movedim(1, -1))
    ),
    "nets.transformers.TransformerBlock": lambda at: at(weighted(transformers.TransformerBlock(8, 16)))(
        at(PLANE), at(WIDE)
    ),
    "nets.transformers.modulated": lambda at: transformers.modulated(at(WIDE), at(WIDE), at(WIDE)),
    "nets.transformers.AdaLNZero": lambda at: at(weighted(ADAPTIVE))(at(TOKENS), at(WIDE[:, None])),
    "nets.transformers.TokenAttention.prepared": lambda at: at(ADAPTIVE.attention).prepared(
        at(TOKENS.repeat(1, 1, 3)), at(TURNS)
    ),
    "nets.transformers.perceptron": lambda at: at(weighted(transformers.perceptron(8, 16)))(at(TOKENS)),
    "nets.transformers.rotary_angles": lambda at: transformers.rotary_angles(2, 3, 4, device=at(TURNS).device),
    "nets.transformers.rotated": lambda at: transformers.rotated(at(TOKENS[..., :4]), at(TURNS)),
    "nets.transformers.spread": lambda at: transformers.spread(at(WIDE), at(TOKENS)),
    "nets.dit.patchify": lambda at: dit.patchify(at(PLANE), 2),
    "nets.dit.unpatchify": lambda at: dit.unpatchify(dit.patchify(at(PLANE), 2), 2),
    "nets.dit.InContext": lambda at: at(weighted(dit.InContext(8, 16, *PARTS)))(at(TOKENS), at(WIDE[:, None])),
    "nets.dit.CrossAttended": lambda at: at(weighted(dit.CrossAttended(8, 16, *PARTS)))(at(TOKENS), at(WIDE[:, None])),
    "nets.dit.AdaLN": lambda at: at(weighted(dit.AdaLN(8, 16, *PARTS)))(at(TOKENS), at(WIDE[:, None])),
    "nets.dit.DiT": lambda at: at(weighted(dit.DiT(width=8, depth=2, window=2)))(at(IMAGES[:4]), at(STEPS)),
    "nets.dit.DiT: with later parts": lambda at: at(
        weighted(dit.DiT(width=16, depth=1, positions="rotary", registers=2, qk_norm=True, conditioning="in-context"))
    )(at(IMAGES[:4]), at(STEPS)),
    "nets.dit.DiT.others": lambda at: at(weighted(dit.DiT(width=16, depth=1, registers=2))).others(at(WIDE[:, None])),
    "nets.unet.Block": lambda at: at(weighted(unet.Block(8, 8, 16, True, True, "rms")))(at(PLANE), at(WIDE)),
    "nets.unet.UNet": lambda at: at(SMALL)(at(IMAGES), at(LABELS) + 1, at(LABELS)),
    "nets.unet.BasicUNet": lambda at: at(weighted(unet.BasicUNet(width=4, multipliers=(1, 2))))(
        at(IMAGES[:4]), at(STEPS)
    ),
    "nets.unet.ConvolutionPair": lambda at: at(weighted(unet.ConvolutionPair(8, 4, 16)))(at(PLANE), at(WIDE)),
    "nets.latent.Perceptron": lambda at: at(weighted(latent.Perceptron(2, 3, 8, 1, members=2)))(at(FLAT).float()),
    "nets.latent.Linears": lambda at: at(weighted(latent.Linears(2, 3, 2)))(at(FLAT.float().reshape(2, 2, 2))),
    "nets.latent.Unit": lambda at: latent.Unit()(at(WIDE)),
    "nets.latent.TimedPerceptron": lambda at: at(weighted(latent.TimedPerceptron(latent=2, width=8)))(
        at(FLAT).float(), at(STEPS), at(OTHER).float()
    ),
    "nets.unet.UNet: with a latent vector": lambda at: at(LATENT)(at(IMAGES[:4]), at(STEPS), at(OTHER).float()),
    "nets.latent.LatentEmbedding": lambda at: at(weighted(latent.LatentEmbedding(8, 2)))(at(STEPS), at(OTHER).float()),
    "nets.latent.latent_rows": lambda at: [latent.latent_rows(z, at(FLAT), 2) for z in (None, at(OTHER))],
    "nets.flows.Coupling": lambda at: at(FIRST_COUPLING)(at(FLAT).float()),
    "nets.flows.Coupling.inverse": lambda at: at(FIRST_COUPLING).inverse(at(FLAT).float()),
    "nets.flows.Coupling.scale_and_shift": lambda at: at(FIRST_COUPLING).scale_and_shift(at(FLAT[:, :1]).float()),
    "nets.flows.Coupling.together": lambda at: at(FIRST_COUPLING).together(at(FLAT[:, :1]), at(OTHER[:, :1])),
    "nets.flows.CouplingFlow": lambda at: at(COUPLED)(at(FLAT).float()),
    "nets.flows.CouplingFlow.inverse": lambda at: at(COUPLED).inverse(at(FLAT).float()),
    # pages
    "pages.plotting.as_pictures": lambda at: plotting.as_pictures(at(IMAGES)).tolist(),
    "pages.plotting.grid": lambda at: plotting.grid(at(IMAGES)).tolist(),
    # recipes
    "recipes.classification.mirrored_and_moved": lambda at: classification.mirrored_and_moved(2)(
        at(BYTES).float(), at.generator
    ),
    "recipes.classification.classification_loss": lambda at: classification.classification_loss(
        lambda x, g: x, PROCESS, 0.1
    )(at(TELLER), (at(BYTES), at(LABELS)), at.generator).detach(),
    "recipes.autoencoding.perceptual_distance": lambda at: autoencoding.perceptual_distance(
        at(READER), at(images.to_unit(COLOUR)), at(images.to_unit(COLOUR.flip(-1)))
    ).detach(),
    "recipes.autoencoding.reconstruction_loss": lambda at: autoencoding.reconstruction_loss(
        autoencoders.Coded(at(IMAGES), at(REAL)), at(IMAGES.flip(-1)), 0.5
    ),
    "recipes.diffusion.diffusion_loss": lambda at: diffusion_recipes.diffusion_loss(
        PROCESS, predictions.V, conditions.Labels(3)
    )(at(SMALL), (at(BYTES), at(LABELS)), at.generator).detach(),
    "recipes.finetuning.finetune": taught_a_word,
    "recipes.finetuning.mixed": lambda at: list(
        finetuning_recipes.mixed(at((BYTES[:2], LABELS[:2])), at((BYTES, LABELS)))
    ),
    "recipes.finetuning.own_samples": lambda at: list(finetuning_recipes.own_samples(own(at), 1, 3)),
    "recipes.finetuning.outlined": lambda at: finetuning_recipes.outlined(at(BYTES)),
    "recipes.diffusion.drop_labels": lambda at: diffusion_recipes.drop_labels(at(LABELS), 3, 0.5, at.generator),
    # sampling
    "sampling.generate.Denoising.takes": lambda at: drawing(at).takes,
    "sampling.generate.Denoising.clip": lambda at: [drawing(at).clip, decoding(at).clip is None],
    "sampling.generate.draw: latents": lambda at: generate.draw(decoding(at), 4, 3, "ddim", at.generator),
    "sampling.generate.Denoising.learns_variance": lambda at: drawing(at).learns_variance,
    "sampling.generate.Given.renoised": lambda at: run(
        at,
        generate.Given(
            half,
            PROCESS,
            draws.standard_normal(at.generator),
            None,
            None,
            leaps.leap(at(LEAPER), predictions.V, PROCESS),
        ).renoised,
    ),
    "sampling.generate.Given.analytic": lambda at: generate.Given(
        model(at), PROCESS, torch.zeros_like, None, torch.ones(21, dtype=torch.float64)
    ).analytic(at(FLAT), at(STEPS)),
    "sampling.generate.Denoising.device": lambda at: drawing(at).device == at.device,
    **{
        f"sampling.generate.draw: {name}": lambda at, name=name: generate.draw(
            drawing(at), 6, 3, name, at.generator, LABELS, 2.0
        )
        for name in generate.SAMPLERS
        if name != "consistency"
    },
    **{
        f"sampling.generate.draw: leaps by {name}": lambda at, name=name: generate.draw(
            generate.Denoising(at(LEAPERS[name]), predictions.V, COSINE, (2,)), 6, 2, name, at.generator
        )
        for name in LEAPERS
    },
    "sampling.generate.draw_batches": lambda at: generate.draw_batches(drawing(at), 6, 3, batch_size=4, cond=LABELS),
    "sampling.generate.second_order": lambda at: [
        run(at, generate.second_order(model(at, schedule), schedule), schedule.grid(4)) for schedule in (COSINE, VP)
    ],
    "sampling.straightness.straightness": lambda at: straightness.straightness([at(FLAT), at(OTHER)], GRID[:2]),
    "sampling.straightness.ends": lambda at: straightness.ends(steps.ddim(model(at), PROCESS), at(FLAT), GRID),
    "sampling.generate.balanced_classes": lambda at: generate.balanced_classes(conditions.Labels(3), 6),
    **{
        f"sampling.guidance.classifier_free: scale {scale:g}, labels on the {where}": lambda at, scale=scale, where=where: (
            guidance.classifier_free(
                at(POINTS), predictions.V, COSINE, LABELS[:4] if where == "CPU" else at(LABELS[:4]), 3, scale
            )(at(FLAT), T)
        )
        for scale in (0.0, 1.0, 2.0)
        for where in ("CPU", "device")
    },
    "sampling.guidance.extrapolated": lambda at: guidance.extrapolated(model(at), half, 2.0)(at(FLAT), T),
    "sampling.guidance.composed": lambda at: guidance.composed(model(at), [half, model(at)], 2.0)(at(FLAT), T),
    "sampling.guidance.within": lambda at: guidance.within(model(at), half, 2, 15)(at(FLAT), T),
    "sampling.guidance.dynamic_threshold": lambda at: guidance.dynamic_threshold(model(at), 0.5)(at(FLAT), T),
    "sampling.guidance.rescaled": lambda at: guidance.rescaled(model(at), half)(at(FLAT), T),
    "sampling.guidance.classifier_guided": lambda at: guidance.classifier_guided(
        model(at), telling(at), COSINE, at(LABELS[:4]), 2.0
    )(at(FLAT), T),
    "sampling.guidance.classifier_guided: labels on the CPU": lambda at: guidance.classifier_guided(
        model(at), telling(at), COSINE, LABELS[:4], 2.0
    )(at(FLAT), T),
    "sampling.guidance.class_score": lambda at: guidance.class_score(telling(at), at(FLAT), at(STEPS), LABELS[:4]),
    "sampling.implicit.implicit": lambda at: implicit.implicit(at(LATENT), 2, at.generator, 1.0)(at(IMAGES), T),
    "sampling.generate.draw: of a denoiser that draws": lambda at: generate.draw(
        generate.Denoising(at(LATENT), predictions.X0, schedules.cosine(3), (1, 8, 8)), 4, 3, "ddpm", at.generator
    ),
    "sampling.generate.Denoising.latent": lambda at: drawing(at).latent,
    "sampling.inversion.invert": lambda at: inversion.invert(model(at), COSINE, at(FLAT), GRID, evaluations=2),
    "sampling.inversion.invert_ddim": lambda at: inversion.invert_ddim(model(at), COSINE, at(FLAT), GRID),
    "sampling.inversion.lerp": lambda at: inversion.lerp(at(FLAT), at(OTHER), REAL),
    "sampling.inversion.slerp": lambda at: inversion.slerp(at(FLAT), at(OTHER), REAL),
    "sampling.inversion.slerp: shares on the device": lambda at: inversion.slerp(at(FLAT), at(OTHER), at(REAL)),
    "sampling.langevin.langevin_step": lambda at: langevin.langevin_step(at(FLAT), at(OTHER), 0.1, at(OTHER)),
    "sampling.langevin.annealed_langevin": lambda at: steps.last(
        langevin.annealed_langevin(score(at), COSINE, at(FLAT), GRID[:-1], 0.1, 2, at.generator)
    ),
    "sampling.langevin.corrected": lambda at: run(
        at, langevin.corrected(steps.ddim(model(at), PROCESS), score(at), generator=at.generator, schedule=COSINE)
    ),
    "sampling.likelihood.divergence": lambda at: likelihood.divergence(score(at), at(FLAT), T),
    "sampling.likelihood.divergence: probes": lambda at: likelihood.divergence(
        score(at), at(FLAT), T, at(normal(3, 4, 2))
    ),
    "sampling.likelihood.log_likelihood": lambda at: likelihood.log_likelihood(
        model(at), COSINE, at(FLAT), COSINE.grid(4, end=1)
    ),
    "sampling.likelihood.log_likelihood: probes": lambda at: likelihood.log_likelihood(
        model(at), COSINE, at(FLAT), COSINE.grid(4, end=1), 2, at.generator
    ),
    "sampling.likelihood.check_differentiable": lambda at: likelihood.check_differentiable(model(at), at(FLAT), T),
    "sampling.ode.velocity": lambda at: ode.velocity(model(at, VP), VP)(at(FLAT), T1),
    "sampling.ode.euler": lambda at: run(at, ode.euler(ode.velocity(model(at, VP), VP)), VP.grid(4, end=0.1)),
    "sampling.ode.heun": lambda at: run(at, ode.heun(ode.velocity(model(at, VP), VP)), VP.grid(4)),
    "sampling.ode.angle": lambda at: ode.angle(COSINE, at(STEPS)),
    "sampling.ode.angle_velocity": lambda at: ode.angle_velocity(model(at), COSINE)(at(FLAT), T),
    "sampling.ode.angle_heun": lambda at: run(at, ode.angle_heun(model(at), COSINE)),
    "sampling.ode.dpm_solver": lambda at: run(at, ode.dpm_solver(model(at), COSINE)),
    "sampling.sde.euler_maruyama": lambda at: run(at, sde.euler_maruyama(model(at, VP), VP, at.generator), VP.grid(4)),
    "sampling.sde.churned": lambda at: run(
        at, sde.churned(ode.heun(ode.velocity(model(at, VP), VP)), VP, 0.4, 4, generator=at.generator), VP.grid(4)
    ),
    "sampling.steps.sample": lambda at: list(steps.sample(steps.ddim(model(at), PROCESS), at(FLAT), GRID)),
    "sampling.steps.last": lambda at: steps.last(iter([at(FLAT), at(OTHER)])),
    "sampling.steps.reverse": lambda at: run(at, steps.reverse(model(at), PROCESS, at.generator)),
    "sampling.steps.ancestral": lambda at: run(at, steps.ancestral(model(at), PROCESS, generator=at.generator)),
    "sampling.steps.ancestral: unit variance": lambda at: run(
        at, steps.ancestral(model(at), PROCESS, steps.unit_variance(COSINE), at.generator)
    ),
    "sampling.steps.ancestral: a learned variance": lambda at: run(
        at, steps.ancestral(*learned(at)[:1], PROCESS, learned(at)[1], at.generator)
    ),
    "sampling.steps.unit_variance": lambda at: steps.unit_variance(COSINE)(at(FLAT), at(STEPS)),
    "sampling.steps.ddim": lambda at: run(at, steps.ddim(model(at), PROCESS, 0.5, at.generator)),
    "sampling.variance.split_output": lambda at: variance.split_output(at(PLANE), at(PLANE[:, :4])),
    "sampling.variance.interpolated_variance": lambda at: variance.interpolated_variance(at(REAL), T1, at(FLAT)),
    "sampling.variance.learned_variance": lambda at: [f(at(FLAT), T) for f in learned(at)],
    "sampling.variance.learned_variance: times on the device": lambda at: [f(at(FLAT), at(STEPS)) for f in learned(at)],
    "sampling.variance.score_norms": lambda at: variance.score_norms(model(at), at(FLAT), PROCESS, 3, at.generator),
    "sampling.variance.analytic_variance": lambda at: variance.analytic_variance(
        torch.ones(21, dtype=torch.float64), COSINE
    )(at(FLAT), at(STEPS)),
    # data.degradations, nets.pictures, recipes.palette
    "data.degradations.Degraded.condition": lambda at: with_hole(at).condition,
    "data.degradations.Degraded.completed": lambda at: with_hole(at).completed(at(-IMAGES)),
    "data.degradations.hidden": lambda at: degradations.hidden(at(IMAGES), at(IMAGES > 0).float(), at.generator),
    "data.degradations.box": lambda at: degradations.box(at(IMAGES[:4]), *[at(STEPS)] * 2, *[at(STEPS)] * 2),
    "data.degradations.holed": lambda at: degradations.holed(at(IMAGES), at.generator),
    "data.degradations.cropped": lambda at: degradations.cropped(at(IMAGES), at.generator),
    "data.degradations.greyed": lambda at: degradations.greyed(at(PLANE[:, :3])),
    "data.degradations.compressed": lambda at: degradations.compressed(at(IMAGES)),
    "data.degradations.degraded": lambda at: degradations.degraded(at(PLANE[:, :3]), at.generator),
    "nets.pictures.PictureUNet": lambda at: (
        mender(at).network(at(IMAGES[:4]), at(STEPS), with_hole(at).condition[:4]).detach()
    ),
    "recipes.palette.on_the_unknown": lambda at: palette_recipes.on_the_unknown(at(IMAGES), with_hole(at).unknown, 1),
    "recipes.palette.read": lambda at: palette_recipes.read((at(COLOUR),), at.generator),
    "recipes.palette.answered": lambda at: palette_recipes.answered(mender(at).network, with_hole(at), 20.0).detach(),
    "recipes.palette.guessed": lambda at: palette_recipes.guessed(mender(at).network, with_hole(at), 20.0),
    "sampling.restoring.mended": lambda at: restoring.mended(mender(at), with_hole(at), 3, generator=at.generator),
    # data.clothes, nets.designs, and what asks them
    "data.clothes.measures": lambda at: clothes.measures(at(CLOTHES)),
    "data.clothes.deviation": lambda at: clothes.deviation(at(WIDE.abs()), at(torch.arange(float(WIDE.shape[1])))),
    "data.clothes.distributions": lambda at: clothes.distributions(*at((MEASURED, KINDS))),
    "data.clothes.ranks": lambda at: clothes.ranks(*at((MEASURED, KINDS)), clothes.distributions(MEASURED, KINDS)),
    "data.clothes.rank_bounds": lambda at: clothes.rank_bounds(
        *at((MEASURED, KINDS)), clothes.distributions(MEASURED, KINDS)
    ),
    "data.clothes.sleeved": lambda at: clothes.sleeved(at(KINDS)),
    "data.clothes.as_asked": lambda at: clothes.as_asked(
        *at((MEASURED, KINDS, MEASURED.sigmoid())), clothes.distributions(MEASURED, KINDS)
    ),
    "data.clothes.Corner.holds": lambda at: clothes.corner_of(3).holds(at(MEASURED.sigmoid())),
    "data.clothes.held_out": lambda at: clothes.held_out(*at((MEASURED.sigmoid(), KINDS))),
    "nets.designs.wish_features": lambda at: designs.wish_features(at(FLAT.clamp(0, 1))),
    "nets.designs.WishEmbedding": lambda at: at(weighted(designs.WishEmbedding(8, 3, 2)))(
        at(STEPS), at({"class": LABELS[:4], "wishes": FLAT.clamp(0, 1).float()})
    ),
    "nets.designs.DesignUNet": lambda at: designer(at).network(at(IMAGES[:4]), at(STEPS)),
    "sampling.generate.guided_denoiser": lambda at: generate.guided_denoiser(designer(at), wishes(4), 4, 2.0)(
        at(IMAGES[:4]), T
    ),
    "sampling.restoring.variations": lambda at: restoring.variations(
        designer(at), at(IMAGES), 0.5, 4, at.generator, wishes(6), 2.0
    ),
    "sampling.restoring.check_averages": lambda at: restoring.check_averages(designer(at)),
    # nets.clip, nets.texts
    "nets.clip.TextTower": lambda at: at(weighted(clip.TextTower(7, 5, 16, 1)))(at(SAID)).detach(),
    "nets.clip.Clip": lambda at: towers(at)(at(PLANE[:, :3].repeat(1, 1, 2, 2)), at(SAID)).detach(),
    "nets.clip.Clip.of_pictures": lambda at: towers(at).of_pictures(at(PLANE[:, :3].repeat(1, 1, 2, 2))).detach(),
    "nets.clip.Clip.of_texts": lambda at: towers(at).of_texts(at(SAID)).detach(),
    "nets.clip.Clip.scale": lambda at: towers(at).scale.detach(),
    "nets.clip.contrastive_loss": lambda at: clip.contrastive_loss(at(normal(5, 5))),
    "nets.standard.StandardUNet": lambda at: standard_unet(at)(at(PLANE[:, :4]), at(STEPS), at(SAID)).detach(),
    "nets.standard.StandardUNet: told nothing": lambda at: standard_unet(at)(at(PLANE[:, :4]), at(STEPS)).detach(),
    "nets.standard.StandardUNet.told": lambda at: standard_unet(at).told(at(SAID)).detach(),
    "nets.standard.StandardAutoencoder.decoder": lambda at: [
        part.detach() for part in standard_coder(at)(at(PLANE[:, :3].tanh()), at.generator)
    ],
    "nets.standard.StandardAutoencoder.decoder: there and back": lambda at: [
        standard_coder(at).encode(at(PLANE[:, :3])).detach(),
        standard_coder(at).decode(at(PLANE[:, :4])).detach(),
    ],
    "nets.unet.UNet: told a text": lambda at: reader(at)(at(PLANE[:, :3]), at(STEPS), at(PLANE[:, 0])).detach(),
    "nets.unet.UNet.told: a text": lambda at: [one.detach() for one in reader(at).told(at(STEPS), None)],
    "nets.unet.UNet.told": lambda at: at(weighted(unet.UNet(1, 8, (1, 2), attention=()))).told(at(STEPS), None)[0],
    # diffusion.measurements, sampling.restoring
    "diffusion.measurements.Measurement.observe": lambda at: measurements.grey(0.1).observe(
        at(PLANE[:, :3]), at.generator
    ),
    "diffusion.measurements.Measurement.inverse": lambda at: measurements.grey().inverse(at(PLANE[:, :1])),
    "diffusion.measurements.Measurement.replaced": lambda at: measurements.grey().replaced(
        at(PLANE[:, :3]), at(PLANE[:, 3:4])
    ),
    "diffusion.measurements.known": lambda at: measurements.known(PLANE[0, 0] > 0).apply(at(PLANE)),
    "diffusion.measurements.grey": lambda at: measurements.grey().apply(at(PLANE[:, :3])),
    "diffusion.measurements.coarse": lambda at: measurements.coarse(2).inverse(measurements.coarse(2).apply(at(PLANE))),
    "diffusion.measurements.along": lambda at: measurements.along(OTHER[0]).replaced(at(FLAT), at(FLAT[:, :1])),
    "sampling.restoring.steered": lambda at: restoring.steered(
        model(at), COSINE, measurements.along(OTHER[0], 0.1), at(FLAT[:, :1]), steps.unit_variance(COSINE)
    )(at(FLAT), T),
    "sampling.restoring.descended": lambda at: restoring.descended(
        lambda denoise: steps.ddim(denoise, PROCESS), model(at), measurements.along(OTHER[0]), at(FLAT[:, :1]), 0.1
    )(at(FLAT), T, S),
    "sampling.restoring.replacing": lambda at: run(at, wanted(at).replacing()),
    "sampling.restoring.repeated": lambda at: run(
        at, restoring.repeated(steps.ddim(model(at), PROCESS), PROCESS, 2, draws.standard_normal(at.generator))
    ),
    "sampling.restoring.edited": lambda at: restoring.edited(
        steps.ddim(model(at), PROCESS), PROCESS, at(FLAT), GRID[1:], draws.standard_normal(at.generator)
    ),
    "sampling.restoring.Wanted.stepping": lambda at: run(at, wanted(at).stepping(half)),
    "sampling.restoring.Wanted.replacing": lambda at: run(at, wanted(at).replacing()),
    "sampling.restoring.Wanted.steered": lambda at: wanted(at).steered()(at(FLAT), T),
    **{
        f"sampling.restoring.restored: {method}": lambda at, method=method: restoring.restored(
            drawing(at), measurements.along(OTHER[0]), at(FLAT[:, :1].float()), method, 4, at.generator
        )
        for method in restoring.METHODS
    },
    "sampling.leaps.leap": lambda at: run(at, leaps.leap(at(LEAPER), predictions.V, PROCESS)),
    "sampling.leaps.renoised": lambda at: run(
        at, leaps.renoised(leaps.leap(at(LEAPER), predictions.V, PROCESS), PROCESS, draws.standard_normal(at.generator))
    ),
    "sampling.leaps.subdivided": lambda at: run(at, leaps.subdivided(steps.ddim(model(at), PROCESS), 2)),
    "sampling.leaps.needed_x0": lambda at: leaps.needed_x0(at(FLAT), at(OTHER), at(STEPS), at(STEPS) - 1, PROCESS),
    "sampling.generate.check_leaps": lambda at: generate.check_leaps(conditions.Until((1, 2)), "ddim", 2, None),
    "recipes.few_steps.halves": lambda at: few_steps_recipes.halves(COSINE, (2, 5)),
    "recipes.few_steps.squared": lambda at: few_steps_recipes.squared(
        at(LEAPER), predictions.V, at(FLAT), at(STEPS), at(STEPS) - 1, at(OTHER), COSINE
    ).detach(),
    "recipes.few_steps.distillation_loss": lambda at: of_leaps(
        at, few_steps_recipes.distillation_loss(steps.ddim(half, PROCESS), PROCESS, predictions.V, (1, 5))
    ),
    "recipes.few_steps.consistency_loss": lambda at: of_leaps(
        at, few_steps_recipes.consistency_loss(half, PROCESS, predictions.V, 5)
    ),
    "recipes.few_steps.consistency_loss: training": lambda at: of_leaps(
        at, few_steps_recipes.consistency_loss(None, PROCESS, predictions.V, 5)
    ),
    "recipes.few_steps.mean_flow_loss": lambda at: of_leaps(
        at,
        few_steps_recipes.mean_flow_loss(gaussian.GaussianDiffusion(continuous.Interpolated(COSINE)), predictions.V),
    ),
    "recipes.few_steps.mean_flow_loss: with a teacher": lambda at: of_leaps(
        at, few_steps_recipes.mean_flow_loss(gaussian.GaussianDiffusion(VP), predictions.V, half)
    ),
    "recipes.variance.bound_terms": lambda at: variance_recipes.bound_terms(
        at(FLAT), at(OTHER), at(FLAT), at(OTHER), at(STEPS), PROCESS, predictions.EPS
    ),
    "recipes.variance.hybrid_loss": lambda at: variance_recipes.hybrid_loss(PROCESS, predictions.EPS)(
        at(TWO_HEADS), (at(torch.full((4, 2), 99.0)),), at.generator
    ).detach(),
    "recipes.variance.bound_loss": lambda at: variance_recipes.bound_loss(
        PROCESS, predictions.EPS, variance_recipes.ImportantTimes(20)
    )(at(TWO_HEADS), (at(torch.full((4, 2), 99.0)),), at.generator).detach(),
    "recipes.adversarial.duel": lambda at: duelled(at),
    "recipes.adversarial.lazily": lambda at: adversarial_recipes.lazily(1.0, at.generator, lambda: at(FLAT)),
    # training
    "training.adversarial.telling_loss": lambda at: adversarial.telling_loss(at(FLAT[:, 0]), at(OTHER[:, 0])),
    "training.adversarial.fooling_loss": lambda at: adversarial.fooling_loss(at(FLAT[:, 0])),
    "training.adversarial.gradient_penalty": lambda at: adversarial.gradient_penalty(
        at(POINT_TELLER).float(), at(FLAT)
    ).detach(),
    "training.coupling.matched": lambda at: coupling.matched(at(FLAT), at(OTHER)),
    "training.distributed.shared": lambda at: [p.detach() for p in distributed.shared(at(POINTS)).parameters()],
    "training.distributed.mean": lambda at: distributed.mean(at(FLAT)),
    "training.state.below": lambda at: state.below({"a.b": at(FLAT)}, "a."),
    "training.loop.fit": trained,
    "training.loop.fit: two parts": lambda at: trained(at, parts=2),
    "training.loop.gradient_of": lambda at: loop.gradient_of(sloped(at)),
    "training.loop.recomputed": lambda at: trained(at, checkpointing=True),
    "training.state.TrainState.save": resumed,
    "training.state.moments_of": resumed,
    "training.state.take_moments": resumed,
    "training.loop.fit: two networks in turns": in_turns,
    "training.state.TrainState.restore": resumed,
    "training.loop.check_rows": lambda at: loop.check_rows((at(FLAT), at(OTHER)), 2, 1),
    "training.loop.generator_for": lambda at: torch.randn(
        3, generator=loop.generator_for(1, 2, at.device), device=at.device
    ),
    "training.loop.averaged": lambda at: [p.detach() for p in averaged_twice(at(POINTS)).module.parameters()],
}


class Pixels(nn.Module):
    """Stands for Inception-v3: the mean colours of uint8 images, in float64."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.double().mean((2, 3))


def averaged_twice(network: nn.Module) -> torch.optim.swa_utils.AveragedModel:
    average = loop.averaged(network, 0.9)
    for _ in range(2):
        average.update_parameters(network)
    return average


NUMBER = "the result is a number or text"
CHECKED = "the argument's values are checked, once and not in a step"
FROM_THE_CPU = "the weights go to the CPU's generator"
FILE = "what is written goes through the CPU"
WAITS: dict[str, str] = {
    **{
        f"data.toys.{name}": "a set is on the CPU; what a device's generator draws is brought there"
        for name in toys.TOY_SETS
    },
    "types.check_decreasing": CHECKED,
    "draws.categories": FROM_THE_CPU,
    **{
        f"recipes.variance.{name}": "a time of 1 has another term: whether there is one is asked"
        for name in ("bound_terms", "hybrid_loss", "bound_loss")
    },
    "sampling.variance.score_norms": NUMBER,
    "diffusion.exact.Mixture": CHECKED,
    "diffusion.flow_map.ExactFlowMap": "the mixture comes to the device, where its values are checked, once",
    "diffusion.exact.ExactDiffusion": "the mixture comes to the device, where its values are checked, once",
    "diffusion.schedules.TableSchedule.alpha": CHECKED,
    "diffusion.schedules.from_betas": CHECKED,
    "diffusion.schedules.from_clipped": CHECKED,
    "diffusion.schedules.span": NUMBER,
    "evaluation.classes": NUMBER,
    "evaluation.evaluate": "how many rows there are of a class is a number",
    "evaluation.features.features": "the features are kept on the CPU",
    "evaluation.frechet": "an eigenvalue problem reports whether it was solved",
    "evaluation.inception.inception_metrics": NUMBER,
    "evaluation.intervals": NUMBER,
    "evaluation.kernel": NUMBER,
    "evaluation.modes": NUMBER,
    "diffusion.compression.water_filling": CHECKED,
    "evaluation.reconstruction": "reconstructions, latents and their numbers are kept on the CPU",
    "evaluation.neighbours.manifold": CHECKED,
    "evaluation.neighbours.recall_statistic": NUMBER,
    "evaluation.neighbours.coverage_statistic": NUMBER,
    "evaluation.neighbours.Copies.share": NUMBER,
    "data.degradations.compressed": "Pillow works on the CPU",
    "data.degradations.degraded": "Pillow works on the CPU",
    "recipes.palette.read": "Pillow works on the CPU",
    "models.store": FILE,
    "models.adapters": FILE,
    "models.tuned": FILE,
    "diffusion.corrections": "matrices are solved and decomposed, and the solver reports errors",
    "recipes.finetuning.finetune": "each step of a training reports",
    "recipes.finetuning.own_samples": "what is drawn in batches is brought to the CPU",
    "models.tensors": FILE,
    "nets.classifier.accuracy": NUMBER,
    "nets.conditions.Labels.check": CHECKED,
    "nets.conditions.Wishes.check": CHECKED,
    "data.clothes.distributions": "whether every kind is there is asked, once",
    "sampling.restoring.variations": CHECKED,
    "nets.conditions.check_condition": CHECKED,
    "pages.plotting": "pictures are drawn on the CPU",
    "sampling.generate.draw_batches": "the samples are kept on the CPU",
    "sampling.inversion.slerp": "whether two vectors are parallel is checked, once",
    "recipes.adversarial": "whether the penalty is due is drawn, and asked",
    "training.coupling": "the cheapest matching is found on the CPU",
    "training.loop.fit": "each step reports its loss and the norm of its gradient",
    "training.loop.recomputed": "it trains, as `fit` does",
    "training.state": FILE,
}
TABLE = "a table is checked and kept on the CPU"
TIMES = "a sampler's times stay on the CPU"
NULL = "who uses it brings it to the device"
KEPT = "a metric is a number, and those without a part are kept on the CPU"
BESIDE: dict[str, str] = {
    "recipes.finetuning.own_samples": "what is drawn in batches is kept on the CPU",
    "data.toys": "points are made on the CPU, as data sets are",
    "diffusion.continuous.Continuous.grid": TIMES,
    "diffusion.schedules.TableSchedule.alpha": TABLE,
    "diffusion.schedules.TableSchedule.grid": TIMES,
    "diffusion.schedules.from_betas": TABLE,
    "diffusion.schedules.from_clipped": TABLE,
    "evaluation.features.features": "the features are kept on the CPU",
    "evaluation.evaluate.floors": KEPT,
    "evaluation.evaluate.measure": KEPT,
    "evaluation.intervals.measured": KEPT,
    "evaluation.intervals.mean_of": KEPT,
    "evaluation.reconstruction.reconstructed": "reconstructions are kept on the CPU",
    "evaluation.reconstruction.encoded": "latents are kept on the CPU",
    "models.asking.asked": NULL,
    "models.tensors.save_tensors": "a file's tensors come to the CPU",
    "nets.conditions.Labels.null": NULL,
    "nets.conditions.Vectors.null": NULL,
    "nets.conditions.Until.null": NULL,
    "nets.conditions.Wishes.null": NULL,
    "nets.conditions.Tokens.null": NULL,
    "nets.conditions.null_of": NULL,
    "recipes.few_steps.halves": TABLE,
    "sampling.generate.draw_batches": "the samples are kept on the CPU",
    "sampling.variance.score_norms": "one number for each time, kept on the CPU",
    "sampling.generate.balanced_classes": NULL,
}
MEASURES = "it measures shipped models with data from files, on the CPU; its parts are called here"
BUILDERS = (
    "linear",
    "scaled_linear",
    "erasing",
    "cosine",
    "sigmoid",
    "zero_terminal_snr",
    "check_grid",
    "check_beta",
    "check_steps",
)
FILES = (
    "denoising",
    "load_autoencoder",
    "load_towers",
    "check_same",
    "locate",
    "save_gamma",
    "load_gamma",
    "shipped_models",
    "checksums",
    "shipped",
    "download_weights",
)
RECIPES = (
    "classification.Classify",
    "classification.accuracy_score",
    "autoencoding.Reconstruct",
    "autoencoding.ReconstructAdversarially",
    "autoencoding.held",
    "classification.prepare",
    "diffusion.Denoise",
    "diffusion.DenoiseLatents",
    "designs",
    "texts",
    "few_steps.Leap",
    "few_steps.with_leaps",
    "adversarial.DenoiseAdversarially",
    "molecules",
    "nonequilibrium",
    "palette.Palette",
    "palette.exercise",
    "rivals",
    "rows",
    "shadows",
    "sounds",
    "train",
    "variance.ImportantTimes",
    "variance.with_variance",
)
NOT_CALLED: dict[str, str] = {
    "data.bits": "a set is on the CPU",
    "data.clothes.corner_of": "it takes no tensors",
    "data.leaves": "a set is on the CPU",
    "data.captions": "who uses its rows brings them to the device",
    "data.tokens": "it takes no tensors",
    "data.shapes": "a set is on the CPU, and clouds are judged there",
    "data.sounds": "a set is on the CPU, and sounds are judged there",
    "data.videos": "a set is on the CPU, and films are judged there",
    "data.paths": "walks are made and judged on the CPU",
    "data.molecules": "a set is on the CPU, and molecules are judged there",
    "data.spectra.hann": "a window is made on the CPU, in float64",
    "data.scenes": "a set is on the CPU, and pictures are read there",
    "data.download": "it reads files, and no tensors",
    "data.strokes": "figures are drawn on the CPU, as sets are",
    "data.degradations.through_jpeg": "Pillow works on the CPU",
    "recipes.palette.in_rows": "pictures are shown on the CPU",
    "data.ink.ink": "a name's ink is made on the CPU, so that it is the same everywhere",
    "data.ink.seed": "it reads a name, and no tensors",
    "data.sets": "it reads files: what comes from one lies on the CPU",
    **{f"data.text.{name}": "text is on the CPU" for name in ("prose", "encode", "decode", "windows", "fingerprint")},
    **{
        f"diffusion.discrete.{name}": "it is made on the CPU, from numbers"
        for name in ("SymbolDiffusion.symbols", "SymbolDiffusion.matrix", "uniform_noise")
    },
    "diffusion.masked.absorbing": "a process is made on the CPU, from numbers; its methods are called here",
    "diffusion.enumerated": "everything is listed on the CPU, as the pages use it",
    "diffusion.continuous.Interpolated.T": "a number",
    "diffusion.continuous.Straight.T": "a number",
    "diffusion.exact.five_by_five": "it is made on the CPU, as the pages use it",
    "diffusion.exact.two_bumps": "a mixture is made on the CPU, from numbers; `Mixture.to` is called here",
    "diffusion.measurements.leaning_bumps": "a mixture is made on the CPU, from numbers; `Mixture.to` is called here",
    "diffusion.measurements.posterior": "a mixture is made on the CPU, from numbers; `Mixture.to` is called here",
    "diffusion.exact.three_bumps": "a mixture is made on the CPU, from numbers; `Mixture.to` is called here",
    **{f"diffusion.schedules.{name}": "a table is built on the CPU, from numbers" for name in BUILDERS},
    **{f"diffusion.schedules.TableSchedule.{name}": TABLE for name in ("T", "beta", "rates")},
    **{
        f"evaluation.evaluate.{name}": MEASURES
        for name in (
            *("evaluate", "compare", "copied", "on_samples", "on_test_set", "on_reconstructions"),
            *("with_floor", "entry", "within_range", "unmoved"),
        )
    },
    "evaluation.inception.clip_score": "it needs a network that is not at hand",
    "evaluation.inception.describe": "it takes no tensors",
    "evaluation.intervals.share_interval": "it takes no tensors",
    "evaluation.intervals.correlation": "it takes no tensors",
    "evaluation.intervals.cut": "rows are shuffled on the CPU, the same for every device",
    "evaluation.intervals.Measured": "what it keeps, `measured` put on the CPU",
    "evaluation.ledger": "it takes no tensors",
    "evaluation.reference": "it reads and writes files; its parts are called here",
    "files": "it takes no tensors",
    "hardware": "it says which device there is",
    "interop": "what is exported is drawn from elsewhere, by others' code",
    "models.adapters.save_lora": "a file's tensors come to the CPU; `load_lora` reads them again",
    "models.tuned.save_tuned": "a file's tensors come to the CPU; `load_tuned` reads them again",
    "models.cards": "it takes no tensors",
    "models.telling": "the vectors of words come to the CPU; `draw` takes them to the network",
    **{f"models.store.{name}": "it takes no tensors" for name in FILES},
    "models.tensors.load_tensors": "a file's tensors come to the CPU",
    **{f"nets.dit.{name}": "it takes no tensors" for name in ("DiT.flops", "block_flops", "check_sizes")},
    **{
        f"nets.lora.{name}": "it takes no tensors"
        for name in ("put_in", "check_bare", "adapters", "merge", "set_scale", "remove_lora")
    },
    "nets.control.widths_of": "it takes no tensors",
    "nets.control.ControlledUNet.looked": "the network itself is called",
    **{f"nets.words.{name}": "it takes no tensors" for name in ("add_words", "grown_table")},
    **{f"recipes.finetuning.{name}": "it takes no tensors" for name in ("prepared", "usual_rate")},
    "recipes.finetuning.lessons": "`finetune` calls it",
    "recipes.pupils": "the command's own pupils, each made of what is called here; they stand on hardware.device()",
    "recipes.stable_diffusion": "a pipeline of diffusers brings its tensors to its own device",
    "nets.recorded": "it takes no tensors",
    "nets.standard.others_networks": "it takes no tensors",
    "pages": "it draws pictures, which `as_pictures` brings to the CPU",
    **{
        f"recipes.{name}": "it trains for minutes, on `hardware.device()`; its parts are called here"
        for name in RECIPES
    },
    "sampling.generate.check_implicit": "it takes no tensors",
    "sampling.times": TIMES,
    "sampling.variance.step_costs": TABLE,
    "training.distributed": "it takes no tensors",
    "training.loop.batch_rows": "rows are shuffled on the CPU, the same for every device",
    **{f"training.loop.{name}": "it takes no tensors" for name in ("rate", "check_keywords", "check_finite")},
    "training.loop.check_compiled": "it is about to train on a machine with a compiler, and reads two numbers",
    "training.progress": "it takes no tensors",
    "training.state.Opponent": "it holds a network; `fit` asks it",
    "training.runs": "it writes files; `TrainState.save` is called here",
    "types.check_name": "it takes no tensors",
}


def listed(name: str, names: dict[str, str]) -> bool:
    """Whether a name, without what follows its colon, or a module or class that holds it, is among the names."""
    parts = name.split(":")[0].split(".")
    return any(".".join(parts[:n]) in names for n in range(1, len(parts) + 1))


@functools.cache
def on_the_cpu(name: str) -> tuple[list[Any], bool]:
    """What a call gives on the CPU, and whether it drew random numbers."""
    here = Place()
    return pytree.tree_leaves(CALLS[name](here)), here.draws > 0


@pytest.mark.parametrize("drawn_there", [False, True], ids=["generator of the CPU", "generator of the device"])
@pytest.mark.parametrize("name", CALLS)
def test_values_are_the_cpus_and_nothing_waits(name: str, drawn_there: bool) -> None:
    expected, draws = on_the_cpu(name)
    if drawn_there and not draws:
        return
    with pretend(), waits() as seen:
        found = pytree.tree_leaves(CALLS[name](Place(moved=True, drawn_there=drawn_there)))
    assert listed(name, WAITS) or not seen.waited
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        if isinstance(other, Tensor):
            assert one.device.type == ("cpu" if listed(name, BESIDE) else DEVICE.type)
            assert torch.allclose(one.detach().cpu(), other.detach(), rtol=1e-4, atol=1e-5)
        elif isinstance(other, float):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
        else:
            assert one == other


def test_a_training_step_waits_only_to_report() -> None:
    with pretend():
        states = training(Place(moved=True))
        next(states)
        with waits() as seen:
            next(states)
    assert len(seen.waited) <= 2  # the loss, and the gradient's norm


def test_every_public_name_is_called_or_has_a_reason() -> None:
    called = {name.split(":")[0] for name in CALLS}
    assert not [name for name in public_names() if name not in called and not listed(name, NOT_CALLED)]


def test_every_name_in_the_lists_is_there() -> None:
    names = set(public_names())
    assert not [name for name in CALLS if name.split(":")[0] not in names]
    for reasons in (WAITS, BESIDE, NOT_CALLED):
        assert not [key for key in reasons if not any(listed(name, {key: ""}) for name in names)]


def public_names() -> Iterator[str]:
    """Functions, methods (a base class stands for those that override its own), and classes that are called themselves."""
    for info in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
        for name, thing in vars(importlib.import_module(info.name)).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            path = f"{info.name.removeprefix('course_lib.')}.{name}"
            if inspect.isfunction(thing):
                yield path
            elif inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
                yield from methods(path, thing)


def methods(path: str, cls: type) -> Iterator[str]:
    """The public methods and properties that a class brings, and itself where it is called."""
    inherited = {name for base in cls.__mro__[1:] for name in vars(base)}
    kinds = (property, functools.cached_property, classmethod, staticmethod)
    for name, member in vars(cls).items():
        if name == "__call__" or (name == "forward" and issubclass(cls, nn.Module)):
            yield path
        elif (
            not name.startswith("_")
            and name not in inherited
            and (inspect.isfunction(member) or isinstance(member, kinds))
        ):
            yield f"{path}.{name}"
