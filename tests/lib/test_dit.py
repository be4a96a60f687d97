"""The diffusion transformer: what each part promises, as an identity, an invariance or a count."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.nets.dit import CONDITIONINGS, DiT, block_flops, patchify, unpatchify
from course_lib.nets.transformers import AdaLNZero, TokenAttention, perceptron, rotary_angles, rotated

T = torch.tensor([10, 900])
LATER = {"positions": "rotary", "registers": 2, "qk_norm": True}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(network: nn.Module) -> Any:
    """The network with all weights moved, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def small(**options) -> Any:
    torch.manual_seed(0)
    return DiT(**{"width": 16, "depth": 2, "classes": 3, **options})


def block(name: str, channels: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return CONDITIONINGS[name](channels, 16, TokenAttention(channels, 2), perceptron(channels, 4 * channels))


def test_patches_are_squares_and_come_together_again() -> None:
    x = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    tokens = patchify(x, 2)
    assert tokens.shape == (2, 2, 3, 12)
    assert sorted(tokens[1, 1, 2].tolist()) == sorted(x[1, :, 2:4, 4:6].flatten().tolist())
    assert torch.equal(unpatchify(tokens, 2), x)


@pytest.mark.parametrize("name", CONDITIONINGS)
def test_only_zero_initialisation_makes_an_untrained_block_the_identity(name: str) -> None:
    x, told = normal(2, 5, 8), normal(2, 2, 16, seed=1)
    assert torch.equal(block(name)(x, told), x) == (name == "adaln-zero")


@pytest.mark.parametrize("name", CONDITIONINGS)
def test_blocks_know_no_order_and_hear_what_they_are_told(name: str) -> None:
    one = moved(block(name)).double()
    x, told = normal(2, 9, 8).double(), normal(2, 2, 16, seed=1).double()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    out = one(x, told)
    assert torch.allclose(one(x[:, order], told), out[:, order], atol=1e-12)
    assert torch.equal(one(x, told + 1), out) == (name == "in-context")
    if name.startswith("adaln"):  # of what they are told they know the sum
        assert torch.allclose(one(x, told.flip(1)), out, atol=1e-12)


def shuffled(x: Tensor, order: Tensor, patch: int = 2) -> Tensor:
    """An image whose patches stand in another order."""
    tokens = patchify(x, patch)
    return unpatchify(tokens.flatten(1, 2)[:, order].view_as(tokens), patch)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_without_positions_patches_may_change_places(conditioning: str) -> None:
    x, order = normal(2, 1, 8, 8).double(), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for positions in ("none", "sinusoids", "rotary"):
        network = moved(small(conditioning=conditioning, positions=positions, registers=1)).double()
        same = torch.allclose(network(shuffled(x, order), T), shuffled(network(x, T), order), atol=1e-10)
        assert same == (positions == "none"), positions


def test_rotations_keep_lengths_and_know_only_how_far_apart_two_places_are() -> None:
    query, key = normal(8).double(), normal(8, seed=1).double()
    angles = rotary_angles(5, 7, 8).double().view(5, 7, 4)

    def product(first: tuple[int, int], second: tuple[int, int]) -> Tensor:
        return rotated(query, angles[first]) @ rotated(key, angles[second])

    assert torch.allclose(rotated(query, angles).norm(dim=-1), query.norm())
    for down, right in itertools.product((-1, 0, 2), (-2, 0, 3)):
        here, there = product((1, 2), (1 + down, 2 + right)), product((2, 3), (2 + down, 3 + right))
        assert torch.allclose(here, there, atol=1e-6)
    assert not torch.allclose(product((1, 2), (1, 3)), product((1, 2), (2, 2)), atol=1e-3)
    assert not torch.allclose(product((1, 2), (1, 3)), product((1, 3), (1, 2)), atol=1e-3)


def test_rotary_attention_moves_with_its_tokens() -> None:
    """Every place of a grid attends to a pattern in it as it does where pattern and place stand elsewhere."""
    attention = moved(TokenAttention(8, 2)).double()
    angles = rotary_angles(6, 6, 4).double().view(6, 6, 2)
    x = normal(1, 9, 8).double()
    here, there = (attention(x, angles[i : i + 3, i : i + 3].flatten(0, 1)) for i in (0, 3))
    assert torch.allclose(here, there, atol=1e-6)


def test_normalised_queries_and_keys_bound_the_softmax() -> None:
    x = 100 * normal(2, 9, 8)
    for qk_norm in (False, True):
        torch.manual_seed(0)
        attention = TokenAttention(8, 2, qk_norm=qk_norm)
        query, key, _ = attention.prepared(attention.to_qkv(x), None).unflatten(-1, (3, 2, 4)).unbind(2)
        logits = torch.einsum("bnhd,bmhd->bhnm", query, key) / math.sqrt(4)
        assert bool(logits.abs().max() <= math.sqrt(4) + 1e-4) == qk_norm


@pytest.mark.parametrize("options", [{}, {"conditioning": "in-context"}, LATER], ids=str)
def test_half_precision_says_nearly_the_same_and_warns_of_nothing(options: dict) -> None:
    network, x = moved(small(**options)), normal(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x, T)
    full = network(x, T)
    assert (half.float() - full).norm() < 0.05 * full.norm()


def gradients(network: nn.Module) -> set[str]:
    """The weights that get a gradient from images, times, classes and a random target."""
    loss = (network(normal(2, 1, 8, 8), T, torch.tensor([0, 2])) - normal(2, 1, 8, 8, seed=1)).square().mean()
    network.zero_grad()
    loss.backward()
    return {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}


def stepped(network: nn.Module) -> None:
    """One step of gradient descent."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad


def test_zeros_wake_in_three_steps() -> None:
    """First the last layer alone learns, then the gates, then the rest; with gates that start at 1 nothing else waits for the gates."""
    network = small()
    first = gradients(network)
    assert first == {"last.weight", "last.bias", "input_gain.weight", "input_gain.bias"}
    stepped(network)
    second = gradients(network)
    gates = {f"blocks.{number}.modulation.{kind}" for number in (0, 1) for kind in ("weight", "bias")}
    assert second >= first | gates | {"first.weight", "modulation.weight"}
    assert not [name for name in second if "attention" in name or "mlp" in name]
    for number in (0, 1):  # of shift, scale and gate, twice, only the gates
        found = network.get_parameter(f"blocks.{number}.modulation.bias").grad
        assert [bool(part.abs().max() > 0) for part in found.chunk(6)] == [False, False, True, False, False, True]
    stepped(network)
    assert gradients(network) == {name for name, _ in network.named_parameters()}


def test_without_zeros_in_the_blocks_the_second_step_reaches_everything() -> None:
    network = small(conditioning="adaln")
    gradients(network)
    stepped(network)
    missing = {name for name, _ in network.named_parameters()} - gradients(network)
    assert not [name for name in missing if "blocks" in name]


@pytest.mark.parametrize(("options", "size"), [({}, (8, 12)), ({"patch": 4, "ratio": 2.5, "heads": 2}, (8, 8))])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_operations_are_as_many_as_torch_counts(conditioning: str, options: dict, size: tuple[int, int]) -> None:
    for later, classes in itertools.product(({}, LATER), (None, 3)):
        network = small(conditioning=conditioning, classes=classes, **options, **later)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            network(torch.zeros(1, 1, *size), T[:1])
        assert network.flops(*size) == counter.get_total_flops()


def test_windows_cost_what_they_see() -> None:
    network = small(window=2)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(torch.zeros(1, 1, 8, 12), T[:1])
    assert network.flops(8, 12) == counter.get_total_flops()


def test_operations_of_the_papers_networks() -> None:
    """Table 4 of Peebles and Xie (2023), which counts a multiplication with its addition as one, for latents of 32 x 32 x 4."""
    sizes = {"S": (12, 384), "B": (12, 768), "L": (24, 1024), "XL": (28, 1152)}
    table = {"S/8": 0.36, "S/2": 6.06, "B/4": 5.56, "L/2": 80.71, "XL/8": 7.39, "XL/2": 118.64}
    for name, gflop in table.items():
        depth, width = sizes[name.split("/")[0]]
        tokens = (32 // int(name[-1])) ** 2
        assert depth * block_flops(tokens, width, 4 * width) / 2e9 == pytest.approx(
            gflop, rel=0.025
        )  # the ends are left out
    cross, plain = (block_flops(256, 1152, 4608, name) for name in ("cross-attention", "adaln"))
    assert 28 * cross / 2e9 == pytest.approx(137.62, rel=0.01)
    assert cross / plain == pytest.approx(1.16, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditioning": "adaln_zero"}, "conditioning must be one of .*did you mean 'adaln-zero'"),
        ({"positions": "learned"}, "positions must be one of 'none', 'rotary', 'sinusoids'"),
        ({"patch": 0}, "patch must be a whole number of at least 1; got 0"),
        ({"depth": 2.5}, "depth must be a whole number of at least 1; got 2.5"),
        ({"width": 18, "heads": 3}, "width must be a multiple of 4, for sines and cosines of two axes; got 18"),
        ({"heads": 3}, "channels must be a multiple of heads; got 16 and 3"),
        ({"heads": 8, "positions": "rotary"}, "channels of a head must be a multiple of 4.*got 2"),
        ({"window": 2, "registers": 1}, "window must be None where there are registers"),
        ({"window": 2, "conditioning": "in-context"}, "window must be None where there are registers"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_images_that_are_no_whole_patches_are_refused() -> None:
    for size in ((8, 7), (6, 8)):
        with pytest.raises(ValueError, match=r"H and W multiples of 4; got \(2, 1, "):
            small(patch=4)(normal(2, 1, *size), T)


@pytest.mark.parametrize("options", [{}, {"conditioning": "cross-attention"}, LATER], ids=str)
def test_a_stored_network_comes_back_as_it_was(tmp_path, options: dict) -> None:
    network = moved(small(**options))
    card = ModelCard(
        name="small",
        architecture="DiT",
        config=network.config,
        parameters=sum(p.numel() for p in network.parameters()),
        prediction="v",
        schedule={"name": "cosine", "T": 1000},
        image_shape=[1, 8, 8],
        dataset="digits",
        data="nothing",
        recipe={},
        steps=0,
        images_seen=0,
        seed=0,
        device="cpu",
        minutes=0.0,
    )
    store.save(tmp_path / "small.safetensors", network, card)
    model, _ = store.load_denoising(tmp_path / "small.safetensors")
    x, cond = normal(2, 1, 8, 8), torch.tensor([0, 3])
    assert torch.equal(model.network(x, T, cond), network(x, T, cond))


def test_gates_are_what_makes_zero_different() -> None:
    """With its gates set to 1 and its start at 0, the block is a plain transformer's without gains."""
    one = block("adaln-zero").double()
    assert isinstance(one, AdaLNZero)
    with torch.no_grad():
        one.modulation.bias.view(6, -1)[[2, 5]] = 1
    x, told = normal(2, 5, 8).double(), normal(2, 2, 16, seed=1).double()
    middle = x + one.attention(nn.functional.layer_norm(x, (8,)))
    assert torch.allclose(one(x, told), middle + one.mlp(nn.functional.layer_norm(middle, (8,))), atol=1e-12)
