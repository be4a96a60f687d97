"""Low-rank adapters: an untrained one changes nothing, merged and apart agree, and all of it is what the library peft computes."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from course_lib.models.adapters import PREFIX, load_lora, save_lora
from course_lib.models.tensors import load_tensors
from course_lib.nets.blocks import CrossAttention, SelfAttention
from course_lib.nets.dit import DiT
from course_lib.nets.lora import LoRA, adapters, add_lora, merge, remove_lora, set_scale
from course_lib.nets.unet import UNet

NETWORKS = {
    "U-Net": lambda: UNet(channels=1, width=8, multipliers=(1, 2), attention=(1,), transformer=(0,), classes=3),
    "DiT": lambda: DiT(channels=1, width=16, depth=2, qk_norm=True, classes=3),
}
EXACT = 1e-12  # of float64; to the last bit only where the same kernel runs on memory of the same alignment
CONVOLUTIONS = ("conv_in", "conv_out", "conv")  # of 3 x 3, some with a stride


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 with every parameter drawn anew, so that nothing is zero."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    return network.double().eval()


def trained(network: nn.Module) -> None:
    """Adapters as a training leaves them: B is no longer 0."""
    draw = torch.Generator().manual_seed(5)
    for adapter in adapters(network).values():
        adapter.lora_B.weight.data.copy_(0.3 * torch.randn(adapter.lora_B.weight.shape, generator=draw))


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(9)
    return (
        torch.randn(4, 1, 8, 8, generator=draw).double(),
        torch.tensor([1.0, 50, 400, 900]),
        torch.tensor([0, 1, 2, 3]),
    )


@torch.no_grad()
def answer(network: nn.Module) -> Tensor:
    return network(*inputs())


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return filled(NETWORKS[request.param]())


# --- what an adapter computes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(6, 5), torch.randn(3, 7, 6)),
        (nn.Conv2d(6, 5, 1, bias=False), torch.randn(3, 6, 4, 4)),
        (nn.Conv2d(6, 5, 3, padding=1), torch.randn(3, 6, 4, 4)),
        (nn.Conv2d(6, 5, 3, stride=2, padding=2, dilation=2), torch.randn(3, 6, 8, 8)),
    ],
    ids=["linear", "1x1", "3x3", "strided and dilated"],
)
def test_an_adapter_adds_alpha_over_rank_times_b_a_to_the_weights(layer: nn.Module, x: Tensor) -> None:
    adapter = filled(LoRA(layer, rank=3, alpha=12.0))
    x = x.double()
    a, b = adapter.lora_A.weight, adapter.lora_B.weight
    product = torch.einsum("or,ri...->oi...", b.flatten(1), a)  # written out, with the kernel's axes behind
    changed = copy.deepcopy(adapter.layer)
    changed.weight.data += 12 / 3 * product
    assert torch.allclose(adapter(x), changed(x), atol=1e-12)
    assert torch.linalg.matrix_rank(adapter.update().flatten(1)) == 3


def test_any_update_of_the_rank_can_be_expressed_and_of_a_higher_one_only_its_nearest() -> None:
    """With A and B from the singular value decomposition: what is missing is the singular values that are left out."""
    draw = torch.Generator().manual_seed(3)
    wanted = torch.randn(7, 5, generator=draw, dtype=torch.float64)
    u, s, v = torch.linalg.svd(wanted, full_matrices=False)
    for rank in (1, 3, 5):
        adapter = LoRA(nn.Linear(5, 7).double(), rank)
        adapter.lora_B.weight.data, adapter.lora_A.weight.data = u[:, :rank] * s[:rank], v[:rank]
        missing = float((wanted - adapter.update().detach()).norm())
        assert missing == pytest.approx(float(s[rank:].norm()), abs=1e-12)


def test_a_fresh_adapter_changes_nothing_and_only_it_learns(network: nn.Module) -> None:
    before = answer(network)
    found = add_lora(network, rank=2)
    assert found and relative(answer(network), before) < EXACT
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {f"{name}.{part}.weight" for name in found for part in ("lora_A", "lora_B")}
    network(*inputs()).square().sum().backward()
    assert all(adapter.lora_B.weight.grad.abs().max() > 0 for adapter in found.values())
    assert all(adapter.lora_A.weight.grad.abs().max() == 0 for adapter in found.values())  # B is 0: A waits for it


def test_attention_is_meant_by_default() -> None:
    names = set(add_lora(filled(NETWORKS["U-Net"]())))
    assert names == {
        *(
            f"{place}.transformer.attention.{part}"
            for place in ("down.0", "up.3", "up.4")
            for part in ("to_qkv", "out")
        ),
        *(f"{place}.attention.{part}" for place in ("down.2", "middle", "up.0", "up.1") for part in ("to_qkv", "out")),
    }
    for block in (SelfAttention(8), CrossAttention(8, 6)):
        layers = {name for name, part in block.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}
        assert set(add_lora(block)) == layers


def test_merged_and_apart_agree_and_taking_out_restores_the_weights(network: nn.Module) -> None:
    before, weights = answer(network), copy.deepcopy(network.state_dict())
    add_lora(network, rank=3, alpha=6.0, targets=("to_qkv", "out", *CONVOLUTIONS))
    trained(network)
    apart = answer(network)
    assert relative(apart, before) > 0.05
    merge(network)
    merge(network)  # the second time there is nothing to add
    assert relative(answer(network), apart) < EXACT
    merge(network, False)
    assert relative(answer(network), apart) < EXACT
    remove_lora(network)
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.allclose(value, weights[name], rtol=0, atol=1e-14) for name, value in network.state_dict().items())


def test_scale_0_is_the_network_itself_and_other_scales_count_in_proportion(network: nn.Module) -> None:
    before, weights = answer(network), copy.deepcopy(network.state_dict())
    found = add_lora(network)
    trained(network)
    assert relative(answer(network), before) > 0.05
    full = {name: adapter.update() for name, adapter in found.items()}
    set_scale(network, 0.25)
    assert all(torch.allclose(adapter.update(), full[name] / 4) for name, adapter in found.items())
    set_scale(network, 0.0)
    assert relative(answer(network), before) < EXACT
    remove_lora(network)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_merged_adapters_that_are_removed_stay_in_the_weights(network: nn.Module) -> None:
    add_lora(network)
    trained(network)
    apart = answer(network)
    merge(network)
    remove_lora(network)
    assert not adapters(network) and relative(answer(network), apart) < EXACT


# --- files -----------------------------------------------------------------------------------------------------------


def test_saved_adapters_come_back_exactly(network: nn.Module, tmp_path: Path) -> None:
    bare = copy.deepcopy(network)
    add_lora(network, rank=3, alpha=5.0)
    trained(network)
    save_lora(tmp_path / "adapter.safetensors", network)
    held = sum(adapter.lora_A.weight.numel() + adapter.lora_B.weight.numel() for adapter in adapters(network).values())
    assert sum(tensor.numel() for tensor in load_tensors(tmp_path / "adapter.safetensors")[0].values()) == held
    load_lora(tmp_path / "adapter.safetensors", bare)
    assert torch.equal(answer(bare), answer(network))
    assert {name for name, p in bare.named_parameters() if p.requires_grad} == {
        name for name, p in network.named_parameters() if p.requires_grad
    }


def test_a_file_of_another_network_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    small, large = filled(NETWORKS["DiT"]()), filled(DiT(channels=1, width=32, depth=2, classes=3))
    add_lora(large)
    save_lora(path, large)
    before = answer(small)
    for other in (small, filled(NETWORKS["U-Net"]())):
        with pytest.raises(ValueError, match="does not hold adapters of this network"):
            load_lora(path, other)
        assert not adapters(other)
    assert torch.equal(answer(small), before)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda net, path: add_lora(net, rank=0), "rank must be at least 1; got 0"),
        (lambda net, path: add_lora(net, targets=("nothing",)), "targets must name layers of the network"),
        (lambda net, path: add_lora(net, targets=("condition",)), "layer must be an nn.Linear, or an nn.Conv2d"),
        (lambda net, path: (add_lora(net), add_lora(net)), "has adapters already"),
        (lambda net, path: (add_lora(net), merge(net), set_scale(net, 0.5)), "is merged: take its update out first"),
        (lambda net, path: save_lora(path, net), "has no adapters to save"),
        (lambda net, path: load_lora(path, net), "does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(act, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        act(filled(NETWORKS["U-Net"]()), tmp_path / "adapter.safetensors")


def test_a_convolution_in_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="without groups"):
        LoRA(nn.Conv2d(4, 4, 3, groups=2))


# --- against peft ----------------------------------------------------------------------------------------------------


def in_peft(network: nn.Module, rank: int, alpha: float, targets: tuple[str, ...]):
    """The same network with peft's adapters."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), lora_dropout=0.0)
    return peft.get_peft_model(copy.deepcopy(network), config).eval()


@pytest.mark.parametrize("targets", [("to_qkv", "out"), ("to_qkv", "out", *CONVOLUTIONS)], ids=["attention", "all"])
def test_outputs_are_those_of_peft_with_the_same_a_and_b(network: nn.Module, targets: tuple[str, ...]) -> None:
    theirs = in_peft(network, 3, 7.0, targets)
    ours = copy.deepcopy(network)
    add_lora(ours, rank=3, alpha=7.0, targets=targets)
    trained(ours)
    placed = {name for name, module in theirs.named_modules() if hasattr(module, "lora_A")}
    assert placed == {PREFIX + name for name in adapters(ours)}
    for name, adapter in adapters(ours).items():
        layer = theirs.get_submodule(PREFIX + name)
        layer.lora_A["default"].weight.data.copy_(adapter.lora_A.weight)
        layer.lora_B["default"].weight.data.copy_(adapter.lora_B.weight)
    assert relative(answer(theirs), answer(network)) > 0.05
    assert relative(answer(ours), answer(theirs)) < EXACT
    merge(ours)
    theirs.merge_adapter()
    assert relative(answer(ours), answer(theirs)) < EXACT
    learn = {name for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    assert {name.replace(".default", "") for name in learn} == {
        PREFIX + name for name, parameter in ours.named_parameters() if parameter.requires_grad
    }


def test_peft_reads_the_file(network: nn.Module, tmp_path: Path) -> None:
    theirs = in_peft(network, 2, 4.0, ("to_qkv", "out"))
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    add_lora(network, rank=2, alpha=4.0, targets=("to_qkv", "out"))
    trained(network)
    save_lora(tmp_path / "adapter.safetensors", network)
    result = set_peft_model_state_dict(theirs, load_file(tmp_path / "adapter.safetensors"))
    assert not result.unexpected_keys
    assert relative(answer(theirs), answer(network)) < EXACT
