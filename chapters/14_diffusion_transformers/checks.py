"""Checks of chapter 14: random tokens in float64, operations as torch counts them, and gradients by differences."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.evaluation.intervals import correlation
from course_lib.nets.dit import CONDITIONINGS, DiT, patchify
from course_lib.nets.embeddings import position_embedding, sinusoidal_embedding
from course_lib.nets.transformers import AdaLNZero, TokenAttention, modulated, perceptron, rotary_angles, rotated
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(network: nn.Module, size: float = 0.3) -> Any:
    """The network in float64 with random weights everywhere."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=draw))
    return network.double()


def block(name: str, M: int, heads: int = 1) -> Any:
    """One of the four blocks, on tokens of M numbers that are told M numbers."""
    return CONDITIONINGS[name](M, M, TokenAttention(M, heads), perceptron(M, 4 * M))


def counted(function: object, *inputs: Tensor) -> int:
    """The operations that torch counts in a call."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        function(*inputs)  # type: ignore[operator]
    return counter.get_total_flops()


# --- tokens and attention ----------------------------------------------------------------------------------------------


@defines("eq-dit-tokens")
def tokens() -> None:
    """The library's patches of an image: as many, and as many numbers in each."""
    for H, W, P, C in ((8, 12, 4, 3), (6, 4, 2, 1)):
        found = patchify(normal(1, C, H, W), P).flatten(1, 2)
        assert_close(found.shape[1], claim(H * W / P**2))
        assert_close(found.shape[2], C * P**2)


@defines("eq-dit-attention")
def attention() -> None:
    """The library's attention with one head, and the formula."""
    layer, h = awake(TokenAttention(6, 1)), normal(1, 5, 6)
    q, k, v = (h[0] @ part.T for part in layer.to_qkv.weight.chunk(3))
    mixed = claim(torch.softmax(q @ k.T / math.sqrt(6), -1) @ v)
    assert_close(layer(h)[0].detach(), (mixed @ layer.out.weight.T + layer.out.bias).detach())


@proves("eq-dit-root")
def root() -> None:
    """Queries and keys of independent signs: the mean square of the product over all cases."""
    for m, varsigma in ((1, 1.3), (2, 0.7), (3, 2.0)):
        entries = varsigma * torch.tensor(list(itertools.product((-1.0, 1.0), repeat=m)), dtype=torch.float64)
        products = entries @ entries.T
        assert_close(products.mean(), 0.0)
        assert_close(products.square().mean(), claim(m * varsigma**4))


@proves("eq-dit-equivariance")
def equivariance() -> None:
    """Permute rows and columns before a softmax and after it; permute the tokens of the library's attention and of a whole block."""
    places = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    order, S = torch.eye(7, dtype=torch.float64)[places], normal(7, 7)
    weights = torch.softmax(S, -1)
    assert_close(torch.softmax(order @ S @ order.T, -1), claim(order @ weights @ order.T))
    h, told = normal(1, 7, 8), normal(1, 2, 8, seed=1)
    for layer, inputs in ((awake(TokenAttention(8, 2)), ()), (awake(block("cross-attention", 8)), (told,))):
        found = layer(h, *inputs)[0].detach()
        assert_close(layer(order @ h, *inputs)[0].detach(), claim(found[places]))


@defines("eq-dit-sinusoids")
def sinusoids() -> None:
    """The library's code of a row, and that of a place in a grid."""
    M = 16
    nu = claim(10_000.0 ** (-torch.arange(M // 4) / (M // 4)))
    waves = torch.outer(torch.arange(5), nu)
    assert_close(sinusoidal_embedding(torch.arange(5), M // 2), torch.cat([waves.cos(), waves.sin()], 1), 1e-6)
    rows = position_embedding(torch.zeros(1, M, 5, 3))[: M // 2, :, 1].T
    assert_close(rows, torch.cat([waves.cos(), waves.sin()], 1), 1e-6)


@proves("eq-dit-dot")
def dot() -> None:
    """Inner products of the library's codes of two places."""
    M, codes = 16, position_embedding(torch.zeros(1, 16, 9, 9)).double()
    nu = 10_000.0 ** (-torch.arange(M // 4, dtype=torch.float64) / (M // 4))
    for (i, j), (row, column) in (((0, 0), (3, 1)), ((2, 5), (7, 4)), ((8, 1), (1, 8))):
        product = codes[:, i, j] @ codes[:, row, column]
        page = claim((torch.cos(nu * (i - row)) + torch.cos(nu * (j - column))).sum())
        assert_close(product, page, 1e-5)


# --- what it costs -----------------------------------------------------------------------------------------------------


@proves("eq-dit-flops", "eq-dit-parameters")
def flops() -> None:
    """Operations as torch counts them, and weights as the block has them, for three sizes."""
    for N, M in ((4, 8), (16, 12), (9, 20)):
        one = block("adaln-zero", M)
        found = counted(one, torch.zeros(1, N, M), torch.zeros(1, 1, M))
        assert_close(found, claim(24 * N * M**2 + 4 * N**2 * M + 12 * M**2, "eq-dit-flops"))
        weights = sum(parameter.numel() for parameter in one.parameters())
        assert_close(weights, claim(18 * M**2 + 12 * M, "eq-dit-parameters"))


@proves("eq-dit-crossover")
def crossover() -> None:
    """Where attention's own products, counted for one more and one less, cost as much as all layers."""
    for M in (8, 20):
        layer, mlp = TokenAttention(M, 1), perceptron(M, 4 * M)

        def surplus(N: float, M: int = M, layer: Any = layer, mlp: Any = mlp) -> float:
            n = round(N)
            layers = counted(mlp, torch.zeros(1, n, M)) + counted(
                lambda h: layer.out(layer.to_qkv(h)[..., :M]), torch.zeros(1, n, M)
            )
            return counted(layer, torch.zeros(1, n, M)) + counted(mlp, torch.zeros(1, n, M)) - 2 * layers

        assert_close(0.0, surplus(claim(6 * M)))
        assert surplus(6 * M + 1) > 0 > surplus(6 * M - 1)


@proves("eq-dit-costs")
def costs() -> None:
    """What each way to tell adds to the plain block, as torch counts it."""
    for N, M in ((6, 8), (10, 12)):
        h, told = torch.zeros(1, N, M), torch.zeros(1, 2, M)
        plain = counted(block("in-context", M), h, told)
        longer = counted(block("in-context", M), torch.zeros(1, N + 2, M), told)
        assert_close(longer - plain, claim(48 * M**2 + 16 * (N + 1) * M))
        cross = counted(block("cross-attention", M), h, told)
        assert_close(cross - plain, claim(4 * N * M**2 + 8 * M**2 + 8 * N * M))
        assert_close(counted(block("adaln", M), h, told) - plain, claim(8 * M**2))
        assert_close(counted(block("adaln-zero", M), h, told) - plain, claim(12 * M**2))


@defines("eq-dit-training")
def training() -> None:
    """Count a training step of a transformer: a little less, as the first layer needs no gradient of the image."""
    network = awake(DiT(width=16, depth=4)).float()
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([1, 2])
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(x, t).sum().backward()
    B, Phi = 2, network.flops(8, 8)
    assert_close(counter.get_total_flops() / 1e4, claim(3 * B * Phi) / 1e4, 0.03)


# --- four ways to tell -------------------------------------------------------------------------------------------------


@defines("eq-dit-adaln")
def adaln() -> None:
    """The library's block with random weights, and the formula."""
    one, h, c = awake(block("adaln-zero", 8)), normal(1, 5, 8), normal(1, 2, 8, seed=1)
    terms = one.modulation(torch.nn.functional.silu(c.sum(1)))[:, None].chunk(6, -1)
    delta, kappa, omega = terms[:3]
    normed = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    middle = claim(h + omega * one.attention((1 + kappa) * normed + delta))
    delta, kappa, omega = terms[3:]
    end = middle + omega * one.mlp(modulated(middle, delta, kappa))
    assert_close(one(h, c).detach(), end.detach(), 1e-9)


@proves("eq-dit-one-token", "eq-dit-two-tokens")
def few_tokens() -> None:
    """Attention to one token and to two, as softmax has it."""
    m = 6
    q, k, v = normal(4, m), normal(2, m, seed=1), normal(2, m, seed=2)
    h, one = normal(4, m, seed=3), torch.softmax(q @ k[:1].T / math.sqrt(m), -1) @ v[:1]
    assert_close(h + one, claim(h + v[0], "eq-dit-one-token"))
    both = torch.softmax(q @ k.T / math.sqrt(m), -1) @ v
    share = 1 / (1 + torch.exp(-(q @ (k[0] - k[1])) / math.sqrt(m)))[:, None]
    assert_close(both, claim(v[1] + share * (v[0] - v[1]), "eq-dit-two-tokens"))


# --- why zero ----------------------------------------------------------------------------------------------------------


def gated(K: int = 3, M: int = 8) -> list[AdaLNZero]:
    """Blocks with random branches, whose modulation is 0."""
    blocks = [awake(block("adaln-zero", M)) for _ in range(K)]
    with torch.no_grad():
        for number, one in enumerate(blocks):
            for parameter in one.parameters():
                parameter += 0.1 * normal(*parameter.shape, seed=number + 10)
            one.modulation.weight.zero_()
            one.modulation.bias.zero_()
    return blocks


def branches(one: AdaLNZero, h: Tensor) -> tuple[Tensor, Tensor]:
    """What attention and perceptron of a block make of tokens whose modulation is 0."""
    zero = torch.zeros(1, dtype=h.dtype)
    seen = modulated(h, zero, zero)
    return one.attention(seen).detach(), one.mlp(seen).detach()


@proves("eq-dit-identity")
def identity() -> None:
    """Untrained blocks of the library, one after the other, and the derivative of their output by differences."""
    h, step, told = normal(1, 5, 8), normal(1, 5, 8, seed=2), normal(1, 2, 8, seed=1)

    def through(h: Tensor) -> Tensor:
        for one in gated():
            h = one(h, told)
        return h.detach()

    assert_close(through(h), claim(h))
    slope = (through(h + 1e-3 * step) - through(h - 1e-3 * step)) / 2e-3
    assert_close(slope, claim(step), 1e-9)


@proves("eq-dit-gates")
def gates() -> None:
    """The loss by differences in the gates of one block, and the gradient that reaches its output; nothing reaches the branches."""
    (one,) = gated(1)
    h, told, target = normal(1, 5, 8), normal(1, 2, 8, seed=1), normal(1, 5, 8, seed=4)

    def loss(bias: Tensor) -> Tensor:
        parts = dict(one.named_parameters()) | {"modulation.bias": bias}
        return (torch.func.functional_call(one, parts, (h, told)) - target).square().sum()

    G = 2 * (h - target)[0]
    first, second = (part[0] for part in branches(one, h))
    bias = torch.zeros(48, dtype=torch.float64)
    for index in range(8):
        for place, F in ((2, first), (5, second)):
            step = torch.zeros(48, dtype=torch.float64)
            step[8 * place + index] = 1e-4
            slope = (loss(bias + step) - loss(bias - step)) / 2e-4
            page = claim((G * F).sum(0)[index])
            assert_close(slope.detach(), page, 1e-6)
    ((one(h, told) - target).square().sum()).backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None
        assert ("modulation" in name) == bool(parameter.grad.abs().max() > 1e-12), name


@proves("eq-dit-parallel")
def parallel() -> None:
    """Open all gates a little, in every block: the change of the output by differences, and the sum of the branches at the input."""
    blocks, h, told = gated(), normal(1, 5, 8), normal(1, 2, 8, seed=1)
    omega = [normal(2, 8, seed=20 + number) for number in range(len(blocks))]

    def through(size: float) -> Tensor:
        state = h
        for one, open_ in zip(blocks, omega, strict=True):
            with torch.no_grad():
                one.modulation.bias.view(6, 8)[[2, 5]] = size * open_
            state = one(state, told).detach()
        return state

    slope = (8 * (through(1e-3) - through(-1e-3)) - (through(2e-3) - through(-2e-3))) / 12e-3
    total = torch.zeros_like(h)
    for one, open_ in zip(blocks, omega, strict=True):
        first, second = branches(one, h)
        total = total + claim(open_[0] * first + open_[1] * second)
    assert_close(slope, total, 1e-7)


@proves("eq-dit-growth")
def growth() -> None:
    """Branches whose signs are drawn independently: the mean square over all cases."""
    for K in (1, 2, 3):
        h, F = normal(4), normal(K, 4, seed=1)
        F = F / F.square().mean(1, keepdim=True).sqrt() * 1.3
        cases = [h + torch.tensor(signs, dtype=torch.float64) @ F for signs in itertools.product((-1.0, 1.0), repeat=K)]
        varsigma2 = 1.3**2
        found = torch.stack(cases).square().mean()
        assert_close(found, claim(h.square().mean() + K * varsigma2))


@proves("eq-dit-double")
def double_zero() -> None:
    """A gate times a layer, by automatic differentiation: at two zeros both gradients vanish, and at one zero one of them."""
    u, G = normal(6), normal(4, seed=1)
    for omega, weight in ((0.0, normal(4, 6, seed=2)), (0.7, torch.zeros(4, 6).double()), (0.7, normal(4, 6, seed=2))):
        gate = torch.full((4,), omega, dtype=torch.float64).requires_grad_()
        weight = weight.requires_grad_()
        (G @ (gate * (weight @ u))).backward()
        assert_close(gate.grad, claim(G * (weight @ u)).detach())
        assert_close(weight.grad, claim(torch.outer(G * gate, u)).detach())


# --- what came after ---------------------------------------------------------------------------------------------------


@defines("eq-dit-rotation")
def rotation() -> None:
    """The library's rotation of one pair of channels, as a matrix."""
    angle = torch.tensor([0.7], dtype=torch.float64)
    a, b = normal(2).tolist()
    page = claim([math.cos(0.7) * a - math.sin(0.7) * b, math.sin(0.7) * a + math.cos(0.7) * b])
    assert_close(rotated(torch.tensor([a, b], dtype=torch.float64), angle), page)


@proves("eq-dit-relative")
def relative() -> None:
    """Products of the library's turned queries and keys at many places of a grid, and one turn by the difference."""
    q, k = normal(8), normal(8, seed=1)
    angles = rotary_angles(6, 6, 8).double().view(6, 6, 4)
    for (i, j), (r, c) in itertools.product(((0, 0), (2, 3), (1, 1)), ((3, 1), (0, 2), (2, 2))):
        product = rotated(q, angles[i, j]) @ rotated(k, angles[i + r, j + c])
        assert_close(product, claim((q * rotated(k, angles[r, c])).sum()), 1e-6)


@proves("eq-dit-bounded")
def bounded() -> None:
    """The largest of many products of normalised queries and keys is that of two that are parallel, and it is as large as stated."""
    for m in (4, 9):
        q = torch.nn.functional.rms_norm(normal(200, m), (m,))
        k = torch.nn.functional.rms_norm(torch.cat([normal(200, m, seed=1), 3 * q]), (m,))
        logits = (q @ k.T / math.sqrt(m)).abs()
        assert_close(logits.max(), claim(math.sqrt(m)), 1e-6)


@defines("eq-dit-fisher")
def fisher() -> None:
    """The library's interval, and the formula."""
    x, y = normal(12).tolist(), (normal(12) + 0.5 * normal(12, seed=1)).tolist()
    found = correlation(x, y)
    r, J = found.value, 12
    for z, end in ((-1.959963984540054, found.low), (1.959963984540054, found.high)):
        assert_close(end, claim(math.tanh(math.atanh(r) + z / math.sqrt(J - 3))))


# --- exercises ---------------------------------------------------------------------------------------------------------


def blocks_of(P: int, side: int, M: int = 1152, K: int = 28) -> list[float]:
    """The operations of the blocks of a transformer: layers, attention, and what hears the condition, as torch counts them in small."""
    one, N, m = block("adaln-zero", 12), 6, 12
    pieces = counted(one, torch.zeros(1, N, m), torch.zeros(1, 1, m))
    attention_, hears = 4 * N**2 * m, counted(one.modulation, torch.zeros(1, m))
    tokens_ = (side // P) ** 2
    scale = (M / m) ** 2
    return [
        K * (pieces - attention_ - hears) * tokens_ / N * scale,
        K * attention_ * (tokens_ / N) ** 2 * M / m,
        K * hears * scale,
    ]


@answers("ex-dit-count")
def ex_count() -> None:
    """DiT-XL/2 on latents of 32 x 32 and of 64 x 64: operations of its blocks, scaled from a small block, and their weights."""
    M, K = 1152, 28
    for side, printed in ((32, "118.6"), (64, "524.5")):
        N = (side // 2) ** 2
        total = claim(K * (24 * N * M**2 + 4 * N**2 * M + 12 * M**2))
        assert_close(sum(blocks_of(2, side)), total)
        assert_printed(total / 2e9, printed)
    layers, attention_, hears = blocks_of(2, 32)
    assert_printed(100 * attention_ / (layers + attention_ + hears), "3.6")
    assert_printed(28 * (18 * M**2 + 12 * M) / 1e6, "669.2")


@answers("ex-dit-linear")
def ex_linear() -> None:
    """Count both blocks, and divide what one has more by the cost of the plain one's linear layers; put in the size of XL/2."""
    for M, N in ((16, 40), (8, 30)):
        told, h = torch.zeros(1, 2, M), torch.zeros(1, N, M)
        extra = counted(block("cross-attention", M), h, told) - counted(block("in-context", M), h, told)
        assert_close(extra / (24 * N * M**2), claim(1 / 6 + 1 / (3 * N) + 1 / (3 * M)))
    N, M = 256, 1152
    assert_printed(100 * (1 / 6 + 1 / (3 * N) + 1 / (3 * M)), "16.8")


@answers("ex-dit-correlation")
def ex_correlation() -> None:
    """The intervals of a correlation of -0.9 over nine sizes and over twelve, from the library on data with that correlation."""
    for n, low, high in ((9, "0.98", "0.59"), (12, "0.97", "0.67")):
        x = torch.arange(n).double()
        x = (x - x.mean()) / x.std()
        e = normal(n)
        e = e - e.mean() - (e @ x) / (x @ x) * x
        y = -0.9 * x + math.sqrt(1 - 0.9**2) * e / e.std()
        found = correlation(x.tolist(), y.tolist())
        assert_close(found.value, -0.9)
        reach = 1.959963984540054 / math.sqrt(n - 3)
        assert_close(found.low, claim(math.tanh(math.atanh(-0.9) - reach)))
        assert_printed(-found.low, low)
        assert_printed(-found.high, high)
