"""The networks beside the U-Net of the recipes, and their blocks: properties, not shapes."""

import pytest
import torch
from torch import Tensor, nn

from course_lib.nets.blocks import ResidualBlock
from course_lib.nets.classifier import ConvClassifier
from course_lib.nets.dit import DiT
from course_lib.nets.embeddings import LabelEmbedding, LearnedTimeEmbedding, position_embedding
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.norms import NORMS, build_norm
from course_lib.nets.transformers import TokenAttention, TransformerBlock, from_windows, to_windows
from course_lib.nets.unet import BasicUNet, UNet

T = torch.tensor([10, 900])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(network: nn.Module) -> nn.Module:
    """The network with all weights moved, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


NETWORKS = {
    "basic": lambda: BasicUNet(width=8, multipliers=(1, 2), classes=3),
    "transformer U-Net": lambda: UNet(width=8, multipliers=(1, 2), attention=(), transformer=(1,), classes=3),
    "DiT": lambda: DiT(width=16, depth=2, classes=3),
    "DiT told in context": lambda: DiT(width=16, depth=2, classes=3, conditioning="in-context"),
    "DiT told by cross-attention": lambda: DiT(width=16, depth=2, classes=3, conditioning="cross-attention"),
    "DiT with adaLN": lambda: DiT(width=16, depth=2, classes=3, conditioning="adaln"),
    "DiT with later parts": lambda: DiT(width=16, depth=2, classes=3, positions="rotary", registers=2, qk_norm=True),
    "windowed DiT": lambda: DiT(width=16, depth=2, window=2, classes=3),
    "hybrid": lambda: Hybrid(width=8, multipliers=(1, 2), depth=2, classes=3),
    **{
        f"U-Net, {name}": lambda name=name: UNet(width=8, multipliers=(1,), attention=(), classes=3, norm=name)
        for name in NORMS
    },
}


@pytest.fixture(params=NETWORKS, ids=str)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


def touched(function, x: Tensor, pixel: tuple[int, int]) -> Tensor:
    """Which output pixels `(H, W)` change when one input pixel does."""
    other = x.clone()
    other[..., pixel[0], pixel[1]] += 1
    return (function(other) - function(x)).abs().amax((0, 1)) > 1e-9


def test_time_class_and_null_token_are_heard(network: nn.Module) -> None:
    network, x = moved(network).double(), normal(2, 1, 8, 8).double()
    out = network(x, T)
    assert torch.equal(out, network(x, T, torch.tensor([3, 3])))
    assert (network(x, T + 50) - out).abs().max() > 1e-3
    for label in range(3):
        assert (network(x, T, torch.tensor([label, label])) - out).abs().max() > 1e-3


def test_samples_of_a_batch_do_not_meet(network: nn.Module) -> None:
    network, x = moved(network).double(), normal(2, 1, 8, 8).double()
    other = torch.cat([x[:1], normal(1, 1, 8, 8, seed=5).double()])
    assert torch.allclose(network(x, T)[0], network(other, T)[0], atol=1e-12)


def test_untrained_networks_predict_zero_but_the_plainest(network: nn.Module) -> None:
    out = network(normal(2, 1, 8, 8), T)
    assert torch.equal(out, torch.zeros_like(out)) != isinstance(network, BasicUNet)


def test_every_weight_learns(network: nn.Module) -> None:
    moved(network)(normal(2, 1, 8, 8), T, torch.tensor([0, 3])).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_config_builds_the_same_network_again(network: nn.Module) -> None:
    again = type(network)(**network.config)
    again.load_state_dict(moved(network).state_dict())
    x = normal(2, 1, 8, 8)
    assert torch.equal(again(x, T), network(x, T))


def test_images_of_the_wrong_size_are_refused(network: nn.Module) -> None:
    x = normal(2, 1, 7, 8)
    if network.config.get("multipliers") == [1]:  # one resolution divides nothing
        assert network(x, T).shape == x.shape
        return
    with pytest.raises(
        ValueError, match=r"x must have shape \(B, 1, H, W\) with H and W multiples of [24]; got \(2, 1, 7, 8\)"
    ):
        network(x, T)


def test_transformer_block_starts_as_the_identity_and_listens_to_the_condition() -> None:
    block, x = TransformerBlock(8, 16), normal(2, 8, 4, 4)
    assert torch.equal(block(x, normal(2, 16)), x)
    moved(block)
    assert (block(x, normal(2, 16)) - block(x, normal(2, 16, seed=1))).abs().max() > 1e-2


def test_attention_without_windows_does_not_know_where_a_token_stands() -> None:
    attention, x = TokenAttention(8).double(), normal(1, 4, 4, 8).double()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(1, 2)[:, order].view_as(x)
    assert torch.allclose(attention(shuffled).flatten(1, 2), attention(x).flatten(1, 2)[:, order])


def test_windows_are_squares_and_fit_together_again() -> None:
    x = torch.arange(2 * 4 * 6).view(2, 4, 6, 1)
    windows = to_windows(x, 2)
    assert windows[0, 1, 2, :, 0].tolist() == [16, 17, 22, 23]
    assert torch.equal(from_windows(windows, 2), x)


def test_attention_in_windows_sees_its_window_alone_and_two_layers_see_further() -> None:
    torch.manual_seed(0)
    plain, shifted = TokenAttention(8, window=4).double(), TokenAttention(8, window=4, shift=2).double()
    x = normal(1, 8, 8, 8).double()

    def on_images(*layers: nn.Module):
        def run(x: Tensor) -> Tensor:
            for layer in layers:
                x = x + layer(x.movedim(1, -1)).movedim(-1, 1)
            return x

        return run

    seen = touched(on_images(plain), x, (1, 1))
    assert seen[:4, :4].all() and seen.sum() == 16
    seen = touched(on_images(shifted), x, (3, 3))
    assert seen[2:6, 2:6].all() and seen.sum() == 16
    assert touched(on_images(plain, shifted), x, (3, 3)).all()


def test_windowed_attention_is_the_global_one_where_one_window_holds_the_image() -> None:
    torch.manual_seed(0)
    windowed, whole = TokenAttention(8, window=4), TokenAttention(8)
    whole.load_state_dict(windowed.state_dict())
    x = normal(2, 4, 4, 8)
    assert torch.allclose(windowed(x), whole(x), atol=1e-6)


def test_receptive_fields() -> None:
    """Global attention sees everything in one block; windows of two by two tokens see only their neighbourhood."""
    x = normal(1, 1, 16, 16).double()
    for options, everything in (({}, True), ({"window": 2}, False)):
        torch.manual_seed(0)
        network = moved(DiT(width=16, depth=1, **options)).double()
        seen = touched(lambda x, network=network: network(x, T[:1]), x, (5, 5))
        assert bool(seen.all()) == everything
        assert seen[4:8, 4:8].all()
        assert everything or seen.sum() == 16


def test_dit_tells_positions_apart_and_takes_images_of_any_size() -> None:
    network = moved(DiT(width=16, depth=1)).double()
    out = network(torch.ones(1, 1, 8, 8).double(), T[:1])
    corners = out[0, 0, ::2, ::2].flatten()
    assert len(corners.unique()) == len(corners)
    assert network(normal(1, 1, 12, 8).double(), T[:1]).shape == (1, 1, 12, 8)


def test_position_embedding_gives_each_pixel_a_code_of_its_own_made_of_row_and_column() -> None:
    code = position_embedding(torch.zeros(1, 16, 5, 7))
    assert len(code.flatten(1).T.unique(dim=0)) == 35
    assert torch.equal(code[:8, :, 0], code[:8, :, 6]) and torch.equal(code[8:, 0], code[8:, 4])
    with pytest.raises(ValueError, match="multiple of 4"):
        position_embedding(torch.zeros(1, 6, 5, 7))


def test_learned_time_has_a_row_for_each_time_and_blends_between() -> None:
    embedding = LearnedTimeEmbedding(8, T=10)
    rows = embedding.rows.weight
    assert torch.equal(embedding(torch.tensor([0, 3, 10])), rows[[0, 3, 10]])
    assert torch.allclose(embedding(torch.tensor([3.25]))[0], 0.75 * rows[3] + 0.25 * rows[4])
    embedding(torch.tensor([3])).sum().backward()
    assert rows.grad is not None and rows.grad.abs().sum(1).nonzero().flatten().tolist() == [3]


def test_null_token_stands_for_no_label() -> None:
    embedding = LabelEmbedding(8, classes=3)
    assert torch.equal(embedding(None, like=torch.zeros(2)), embedding(torch.tensor([3, 3])))
    with pytest.raises(ValueError, match="like must be given"):
        embedding(None)


@pytest.mark.parametrize(
    ("name", "scale", "offset"),
    [("channel", True, True), ("rms", True, False), ("group", True, True), ("none", False, False)],
)
def test_what_each_norm_forgets(name: str, scale: bool, offset: bool) -> None:
    norm, x = build_norm(name, 16), normal(2, 16, 4, 4).double()
    assert torch.allclose(norm(5 * x), norm(x), atol=1e-4) == scale
    assert torch.allclose(norm(x + 3), norm(x), atol=1e-4) == offset


def test_only_group_norm_mixes_pixels() -> None:
    x = normal(1, 16, 4, 4).double()
    for name in NORMS:
        assert bool(touched(build_norm(name, 16), x, (1, 1)).all()) == (name == "group"), name


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(ValueError, match="norm must be one of channel, rms, group, none; got 'batch'"):
        ResidualBlock(8, 8, 16, norm="batch")


def test_fast_classifier_sees_the_whole_picture_and_refuses_a_time() -> None:
    torch.manual_seed(0)
    network = ConvClassifier(channels=1, widths=(8, 8, 8)).eval().double()
    x = normal(1, 1, 28, 28).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x)
    assert (gradient.abs().sum((0, 1)) > 0).double().mean() > 0.5  # a maximum passes one of its pixels on
    assert torch.allclose(network(x), network(x.flip(-1)))
    network.train()
    assert not torch.allclose(network(x), network(x.flip(-1)))
    with pytest.raises(ValueError, match="t must be None"):
        network(x, torch.tensor([3]))
