"""Checks of chapter 17: sums over small worlds of pictures and captions, the library's towers and attention, and Gaussians."""

import itertools
import math
from collections import Counter

import torch
from scipy.integrate import quad
from torch import Tensor

from course_lib.data import captions, scenes
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import cosine
from course_lib.nets.blocks import CrossAttention
from course_lib.nets.clip import contrastive_loss
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.sampling.guidance import extrapolated

DOUBLE = torch.float64


def rand(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1) in float64."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# --- what a code must carry ---------------------------------------------------------------------------------------------

PICTURES, SEEN, TEXTS = 5, 3, 6  # of a small world: x_0, what noise leaves of it, and captions
CODE = torch.tensor([0, 0, 1, 2, 2, 2])  # what an encoder makes of each caption
VALUES = normal(PICTURES, 3, seed=1)  # the pictures, in D = 3


def world() -> Tensor:
    """The joint probabilities of picture, noisy picture and caption, (PICTURES, SEEN, TEXTS)."""
    chances = rand(PICTURES, SEEN, TEXTS) ** 2
    return chances / chances.sum()


def told_caption() -> Tensor:
    """E[x_0 | x_t, w], (SEEN, TEXTS, 3)."""
    p = world()
    return torch.einsum("xsw,xd->swd", p, VALUES) / p.sum(0)[..., None]


def told_code() -> Tensor:
    """E[x_0 | x_t, e], (SEEN, codes, 3), with no look at captions: from the joint of pictures and codes."""
    joint = torch.zeros(PICTURES, SEEN, 3, dtype=DOUBLE)
    for w, e in enumerate(CODE.tolist()):
        joint[:, :, e] += world()[:, :, w]
    return torch.einsum("xse,xd->sed", joint, VALUES) / joint.sum(0)[..., None]


@proves("eq-text-answers")
def answer_of_a_code() -> None:
    """The answer to a code, from the joint of pictures and codes, against the mean of the answers to its captions."""
    p, answer = world().sum(0), told_caption()
    for s, e in itertools.product(range(SEEN), range(3)):
        rows = CODE.eq(e)
        page = claim((p[s, rows, None] * answer[s, rows]).sum(0) / p[s, rows].sum())
        assert_close(told_code()[s, e], page)


@proves("eq-text-gap")
def gap() -> None:
    """The squared errors of both answers, picture by picture, against the distance of the answers."""
    p, by_caption, by_code = world(), told_caption(), told_code()[:, CODE]
    off = lambda answer: (VALUES[:, None, None] - answer).square().sum(-1)  # noqa: E731 (PICTURES, SEEN, TEXTS)
    page = claim((p.sum(0) * (by_caption - by_code).square().sum(-1)).sum())
    assert_close((p * off(by_code)).sum() - (p * off(by_caption)).sum(), page)
    assert float(page) > 0.01


@proves("eq-text-lost")
def lost() -> None:
    """What the bag of words leaves open of a caption of the scenes, caption by caption, against the entropies of both."""
    chances = scenes.caption_chances()
    bag = {text: tuple(sorted(text.split())) for text in chances}
    bags: Counter[tuple[str, ...]] = Counter()
    for text, p in chances.items():
        bags[bag[text]] += p  # type: ignore[assignment]
    entropy = lambda table: -sum(p * math.log2(p) for p in table.values())  # noqa: E731
    direct = -sum(p * math.log2(p / bags[bag[text]]) for text, p in chances.items())
    page = claim(entropy(chances) - entropy(bags))
    assert abs(direct - page) < 1e-9 and page > 0.5


# --- towers -------------------------------------------------------------------------------------------------------------

SMALL = 3  # pictures and captions
BATCH = 3


def joint() -> Tensor:
    """Probabilities of pairs of picture and caption, (SMALL, SMALL)."""
    chances = rand(SMALL, SMALL, seed=3) ** 3
    return chances / chances.sum()


def ratio() -> Tensor:
    """p(w | x) / p(w), (SMALL, SMALL)."""
    p = joint()
    return p / p.sum(1, keepdim=True) / p.sum(0)


def batches() -> list[tuple[float, list[int], list[int]]]:
    """Every batch of pairs, and how probable it is."""
    p = joint()
    pairs = list(itertools.product(range(SMALL), repeat=2))
    return [
        (math.prod(float(p[x, w]) for x, w in batch), [x for x, _ in batch], [w for _, w in batch])
        for batch in itertools.product(pairs, repeat=BATCH)
    ]


@defines("eq-text-loss")
def loss() -> None:
    """The library's loss of random logits against the definition, one half for each direction."""
    s = 3 * normal(5, 5, seed=4)
    own = s.diagonal().exp()
    page = claim(-((own / s.exp().sum(1)).log() + (own / s.exp().sum(0)).log()).sum() / (2 * 5))
    assert_close(contrastive_loss(s), page)


@proves("eq-text-posterior")
def which_belongs() -> None:
    """The chance that the i-th of three captions belongs to a picture, from all ways to mix them, against the ratios."""
    p = joint()
    captions_alone = p.sum(0)
    for x, w in itertools.product(range(SMALL), itertools.product(range(SMALL), repeat=BATCH)):
        # The one that belongs is at each place equally often; the others are captions of other pictures.
        ways = [
            p[x, w[i]] * math.prod(float(captions_alone[w[j]]) for j in range(BATCH) if j != i) for i in range(BATCH)
        ]
        r = ratio()[x, list(w)]
        for i in range(BATCH):
            assert_close(ways[i] / sum(ways), claim(r[i] / r.sum()))


@proves("eq-text-bound")
def bound() -> None:
    """The information of a table, against the best loss over all batches and the divergence of what a batch is from chance."""
    p, r = joint(), ratio()
    information = (p * r.log()).sum()
    best = sum(chance * contrastive_loss(r[x][:, w].log()) for chance, x, w in batches())
    # The divergence of (one picture, its captions among B) from (the picture, B unrelated captions), case by case.
    divergence = torch.zeros((), dtype=DOUBLE)
    for x, w in itertools.product(range(SMALL), itertools.product(range(SMALL), repeat=BATCH)):
        chance = math.prod(float(p.sum(0)[k]) for k in w) * float(p.sum(1)[x])
        mixed = sum(
            float(p[x, w[i]]) * math.prod(float(p.sum(0)[w[j]]) for j in range(BATCH) if j != i) for i in range(BATCH)
        )
        divergence += mixed / BATCH * math.log(mixed / BATCH / chance)
    other = torch.zeros((), dtype=DOUBLE)  # the same for a caption and B pictures
    for w, x in itertools.product(range(SMALL), itertools.product(range(SMALL), repeat=BATCH)):
        chance = math.prod(float(p.sum(1)[k]) for k in x) * float(p.sum(0)[w])
        mixed = sum(
            float(p[x[i], w]) * math.prod(float(p.sum(1)[x[j]]) for j in range(BATCH) if j != i) for i in range(BATCH)
        )
        other += mixed / BATCH * math.log(mixed / BATCH / chance)
    assert_close(information, claim(math.log(BATCH) - best + (divergence + other) / 2))
    assert float(divergence) > 0.01 and float(other) > 0.01


@proves("eq-text-repeats")
def repeats() -> None:
    """The library's loss of perfect towers in batches of repeated captions, against the sum over how often each occurs."""
    chances, size = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=DOUBLE), 8
    page = sum(
        claim(p * sum(math.comb(size - 1, k) * p**k * (1 - p) ** (size - 1 - k) * math.log(1 + k) for k in range(size)))
        for p in chances.tolist()
    )
    drawn = torch.multinomial(chances, 40_000 * size, True, generator=torch.Generator().manual_seed(5)).view(-1, size)
    same = drawn[:, :, None] == drawn[:, None, :]
    logits = torch.where(same, 0.0, -torch.inf).double()
    found = sum(float(contrastive_loss(one)) for one in logits[:4000]) / 4000
    assert abs(found - page) < 0.03
    everywhere = same.sum(2).double().log().mean()  # the same in all batches at once
    assert_close(everywhere, torch.tensor(page, dtype=DOUBLE), 0.004)


# --- how a picture hears words ------------------------------------------------------------------------------------------


@proves("eq-text-cross")
def cross() -> None:
    """What the library's block adds, with random weights, against the formula, head by head and pixel by pixel."""
    torch.manual_seed(0)
    block = CrossAttention(6, 5, heads=2).double()
    torch.nn.init.normal_(block.out.weight)
    x, tokens = normal(1, 6, 2, 2, seed=6), normal(1, 7, 5, seed=7)
    with torch.no_grad():
        added = (block(x, tokens) - x)[0].flatten(1).T  # (pixels, channels)
        h = block.norm(x)[0].flatten(1).T
        q, kv = h @ block.to_query.weight[:, :, 0, 0].T, tokens[0] @ block.to_key_value.weight.T
        heads = []
        for head in range(2):
            rows = slice(3 * head, 3 * head + 3)
            queries, keys, values, d = q[:, rows], kv[:, rows], kv[:, 6:][:, rows], 3
            heads.append(
                claim((queries @ keys.T / d**0.5).exp() / (queries @ keys.T / d**0.5).exp().sum(1, True)) @ values
            )
        mixed = torch.cat(heads, 1)
        assert_close(added, mixed @ block.out.weight[:, :, 0, 0].T + block.out.bias, 1e-9)
        assert_close(block(x, tokens[:, torch.randperm(7)]), block(x, tokens), 1e-12)


SCHEDULE = cosine(20)


def worlds() -> tuple[ExactDiffusion, ExactDiffusion]:
    """Two mixtures in D = 3: what a text describes, and what another does."""
    found = []
    for seed in (8, 9):
        roots = 0.4 * normal(2, 3, 3, seed=seed)
        covariances = roots @ roots.mT + 0.2 * torch.eye(3, dtype=DOUBLE)
        weights = torch.tensor([0.3, 0.7], dtype=DOUBLE)
        found.append(ExactDiffusion(Mixture(weights, normal(2, 3, seed=seed + 10), covariances), SCHEDULE))
    return found[0], found[1]


@proves("eq-text-guided")
def guided() -> None:
    """The gradient of the logarithm of the product of densities, by a program, against what the library's guided denoiser implies."""
    wanted, unwanted = worlds()
    for t, scale in ((3, 2.5), (10, 4.0)):
        time = torch.tensor(t)
        a, b = SCHEDULE.signal(time), SCHEDULE.noise(time)
        x = normal(6, 3, seed=20).requires_grad_()
        p, n = wanted.log_prob(x, time), unwanted.log_prob(x, time)
        (gradient,) = torch.autograd.grad((p + (scale - 1) * (p - n)).sum(), x)
        point = x.detach()
        page = claim(scale * wanted.score(point, time) - (scale - 1) * unwanted.score(point, time))
        assert_close(gradient, page, 1e-8)
        answer = extrapolated(wanted.denoise, unwanted.denoise, scale)(point, time)
        assert_close((a * answer - point) / b**2, page, 1e-8)


@proves("eq-text-negative")
def negative() -> None:
    """The mean and precision of the product of two bells to their powers, by quadrature, against the formula."""
    grid = torch.linspace(-40, 40, 400_001, dtype=DOUBLE)
    for m, sw, n, sn, s in ((0.3, 0.8, -0.5, 1.0, 2.0), (-1.0, 0.9, 0.4, 0.8, 1.7), (0.2, 0.5, 0.1, 1.4, 6.0)):
        log = s * -((grid - m) ** 2) / (2 * sw**2) + (s - 1) * (grid - n) ** 2 / (2 * sn**2)
        weights = torch.softmax(log, 0)
        mean = (weights * grid).sum()
        variance = (weights * (grid - mean) ** 2).sum()
        precision = claim(s / sw**2 - (s - 1) / sn**2)
        assert_close(1 / variance, torch.tensor(precision, dtype=DOUBLE), 1e-6)
        page = claim((s * m / sw**2 - (s - 1) * n / sn**2) / precision)
        assert_close(mean, torch.tensor(page, dtype=DOUBLE), 1e-6)


@proves("eq-text-cascade")
def cascade() -> None:
    """The variance of what a second stage makes of a faulty first one, by draws, beyond that of the truth."""
    gamma, detail, off = 1.4, 0.5, 0.6
    for sigma in (0.3, 0.8, 1.5):
        y, n = gamma**0.5 * normal(300_000, seed=30), sigma * normal(300_000, seed=31)
        faulty = y + off * normal(300_000, seed=32)
        # The second stage has learned p(x | y + n) from the truth: it draws y from its posterior, and its own detail.
        seen = faulty + n
        spread = (1 / (1 / gamma + 1 / sigma**2)) ** 0.5
        drawn = (seen / sigma**2) * spread**2 + spread * normal(300_000, seed=33) + detail * normal(300_000, seed=34)
        page = claim((gamma / (gamma + sigma**2)) ** 2 * off**2)
        assert abs(float(drawn.var() - (gamma + detail**2)) - page) < 0.02


# --- exercises ----------------------------------------------------------------------------------------------------------


@answers("ex-text-pair")
def two_in_a_batch() -> None:
    """Perfect towers, two pairs a batch, four captions that are equally frequent: their loss, by all batches."""
    logits = lambda one, other: torch.tensor([[0.0, 0.0]] * 2 if one == other else [[0.0, -1e9], [-1e9, 0.0]])  # noqa: E731
    found = sum(float(contrastive_loss(logits(a, b))) for a, b in itertools.product(range(4), repeat=2)) / 16
    page = claim(math.log(2) / 4)
    assert abs(found - page) < 1e-6
    assert_printed(page, "0.173")
    bound = claim(math.log(2) - math.log(2) / 4)
    assert abs(bound - (math.log(2) - found)) < 1e-6
    assert_printed(bound, "0.520")
    assert_printed(math.log(4), "1.386")


@answers("ex-text-narrow")
def narrow() -> None:
    """Where the product of a bell and one over a narrower one is no density any more: the sign of its curvature far out."""
    sw, sn = 1.5, 1.2
    largest = claim(sw**2 / (sw**2 - sn**2))
    assert_printed(largest, "2.78")
    far = torch.tensor([50.0, 51.0], dtype=DOUBLE)
    for s, falls in ((largest - 0.01, True), (largest + 0.01, False)):
        log = -s * far**2 / (2 * sw**2) + (s - 1) * far**2 / (2 * sn**2)
        assert bool(log[1] < log[0]) is falls
    # The flow from far out to the data on the clock sigma: d log x / d sigma of the guided denoiser, by quadrature.
    far_out = 1e5
    slope = lambda x: largest * x / (sw**2 + x**2) - (largest - 1) * x / (sn**2 + x**2)  # noqa: E731
    log_ratio = quad(slope, 0, 10, limit=200)[0] + quad(slope, 10, far_out, limit=500)[0]
    spread = claim(sw * (sw / sn) ** (largest - 1))
    assert abs(far_out * math.exp(-log_ratio) - spread) < 1e-4
    assert_printed(spread, "2.23")
    assert_printed(sw / sn, "1.25")
    for value, text in ((sw, "1.5"), (sn, "1.2"), (sw**2, "2.25"), (sn**2, "1.44")):
        assert_printed(value, text)


@answers("ex-text-count")
def how_many() -> None:
    """How many captions the grammar has, by listing them, and how many combinations are held out."""
    things = scenes.all_things()
    pairs = [(one, other) for one in things for other in things if one.colour != other.colour]
    assert len(things) == claim(2 * 6 * 4) == 48
    assert len(pairs) * len(scenes.RELATIONS) == claim(48 * 40 * 4) == 7680
    seen = [thing for thing in things if (thing.colour, thing.shape) not in scenes.HELD_OUT]
    assert len(seen) == claim(2 * (6 * 4 - 4)) == 40
    assert captions.encode([scenes.caption(scenes.Scene((thing,))) for thing in things]).unique(dim=0).shape[0] == 48
