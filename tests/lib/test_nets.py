"""The networks: properties of each block, not its shapes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import ResidualBlock, SelfAttention, attend
from course_lib.nets.classifier import Classifier, accuracy
from course_lib.nets.embeddings import ConditionEmbedding, sinusoidal_embedding
from course_lib.nets.mlp import MLP
from course_lib.nets.norms import ChannelNorm
from course_lib.nets.unet import UNet


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perturbed(network: nn.Module) -> nn.Module:
    """The network with all weights moved, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def small_unet(**options) -> UNet:
    torch.manual_seed(0)
    return UNet(**{"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "classes": 3, **options})


T = torch.tensor([10, 900])


def test_untrained_unet_predicts_zero() -> None:
    assert torch.equal(small_unet()(normal(2, 1, 8, 8), T), torch.zeros(2, 1, 8, 8))


def test_blocks_start_as_the_identity() -> None:
    x = normal(2, 8, 4, 4)
    assert torch.equal(ResidualBlock(8, 8, 16)(x, normal(2, 16)), x)
    assert torch.equal(SelfAttention(8)(x), x)


def test_time_and_class_change_the_output_and_no_class_is_the_null_token() -> None:
    network, x = perturbed(small_unet()), normal(2, 1, 8, 8)
    null = torch.tensor([3, 3])
    assert torch.equal(network(x, T), network(x, T, null))
    for cond in ([0, 0], [1, 1], [2, 2]):
        assert (network(x, T, torch.tensor(cond)) - network(x, T)).abs().max() > 1e-3
    assert (network(x, T + 50) - network(x, T)).abs().max() > 1e-3


def test_samples_of_a_batch_do_not_meet() -> None:
    network, x = perturbed(small_unet()), normal(2, 1, 8, 8)
    other = torch.cat([x[:1], normal(1, 1, 8, 8, seed=5)])
    assert torch.allclose(network(x, T)[0], network(other, T)[0], atol=1e-6)


def test_attention_does_not_know_where_a_pixel_stands() -> None:
    block, x = perturbed(SelfAttention(8)), normal(1, 8, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    assert torch.allclose(block(shuffled).flatten(2), block(x).flatten(2)[..., order], atol=1e-5)


def test_attention_lets_every_pixel_see_every_other() -> None:
    block, x = perturbed(SelfAttention(8)), normal(1, 8, 4, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, :, 0, 0].sum(), x)
    assert (gradient.abs().sum(1) > 0).all()


def test_residual_block_sees_two_pixels_in_each_direction() -> None:
    block, x = perturbed(ResidualBlock(4, 4, 8)), normal(1, 4, 9, 9).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x, normal(1, 8))[0, :, 4, 4].sum(), x)
    seen = gradient[0].abs().sum(0) > 0
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = True
    assert torch.equal(seen, expected)


def test_residual_block_moves_with_its_input_away_from_the_border() -> None:
    block, x, condition = perturbed(ResidualBlock(4, 4, 8)), normal(1, 4, 12, 12), normal(1, 8)
    moved = block(x.roll((2, 1), (2, 3)), condition)
    assert torch.allclose(moved[..., 5:-3, 5:-3], block(x, condition).roll((2, 1), (2, 3))[..., 5:-3, 5:-3], atol=1e-5)


def test_channel_norm_makes_each_pixel_standard_whatever_its_scale_and_offset() -> None:
    norm, x = ChannelNorm(), normal(2, 16, 3, 3)
    assert torch.allclose(norm(x).mean(1), torch.zeros(2, 3, 3), atol=1e-5)
    assert torch.allclose(norm(x).square().mean(1), torch.ones(2, 3, 3), atol=1e-4)
    assert torch.allclose(norm(1000 * x + 5), norm(x), atol=1e-4)


@pytest.mark.parametrize("tokens", [20, 65, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_formula_for_few_tokens_and_for_many(tokens: int, dtype: torch.dtype) -> None:
    query, key, value = normal(3, 2, 4, tokens, 8).unbind(0)
    expected = torch.softmax(query @ key.mT / 8**0.5, -1) @ value
    found = attend(query.to(dtype), key.to(dtype), value.to(dtype))
    assert found.dtype == dtype and torch.allclose(
        found.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.05
    )


def test_attention_of_few_tokens_has_a_second_derivative() -> None:
    query = normal(2, 1, 64, 8).requires_grad_()
    (slope,) = torch.autograd.grad(attend(query, query, query).sum(), query, create_graph=True)
    (found,) = torch.autograd.grad(slope.square().sum(), query)
    assert bool(found.isfinite().all()) and float(found.abs().max()) > 0


def test_patches_move_pixels_into_channels_and_back() -> None:
    network, x = perturbed(small_unet(patch=2)), normal(2, 1, 8, 8)
    with torch.no_grad():
        network.first.weight.zero_()  # now only the input gain can see the picture
        gain = network.input_gain(F.silu(network.condition(T)))
    passed = network(x, T) - network(torch.zeros_like(x), T)
    assert torch.allclose(passed, gain[:, :, None, None] * x, atol=1e-5)
    assert network.first.in_channels == 4 and network.last.out_channels == 4


def test_unet_can_return_its_input_whatever_its_scale() -> None:
    network, x = small_unet(), normal(2, 1, 8, 8)
    nn.init.ones_(network.input_gain.bias)
    assert torch.equal(network(100 * x, T), 100 * x)


def test_inner_products_of_sinusoids_depend_on_the_distance_in_time_alone() -> None:
    near, far = (sinusoidal_embedding(torch.tensor([t, t + 7]), 64) for t in (3, 500))
    assert torch.allclose(near[0] @ near[1], far[0] @ far[1], atol=1e-3)
    assert (near[0] - near[1]).norm() > 1


def test_time_scale_stretches_time() -> None:
    torch.manual_seed(0)
    plain = ConditionEmbedding(16)
    stretched = ConditionEmbedding(16, time_scale=1000.0)
    stretched.load_state_dict(plain.state_dict())
    assert torch.allclose(stretched(torch.tensor([0.25])), plain(torch.tensor([250.0])))


@pytest.mark.parametrize("network", [small_unet(), MLP(width=16, depth=2, classes=3)], ids=["unet", "mlp"])
def test_config_builds_the_same_network_again(network) -> None:
    copy = type(network)(**network.config)
    copy.load_state_dict(network.state_dict())
    x = normal(2, 1, 8, 8) if isinstance(network, UNet) else normal(2, 2)
    assert torch.equal(copy(x, T, torch.tensor([0, 2])), network(x, T, torch.tensor([0, 2])))


def test_bad_input_says_what_is_allowed() -> None:
    with pytest.raises(
        ValueError, match=r"x must have shape \(B, 1, H, W\) with H and W multiples of 2; got \(1, 1, 7, 8\)"
    ):
        small_unet()(normal(1, 1, 7, 8), T[:1])
    with pytest.raises(ValueError, match="multiples of 4"):
        small_unet(patch=2)(normal(1, 1, 6, 8), T[:1])
    with pytest.raises(ValueError, match="built without classes"):
        small_unet(classes=None)(normal(2, 1, 8, 8), T, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="dim must be even"):
        sinusoidal_embedding(T, 7)
    with pytest.raises(ValueError, match="multiple of heads"):
        SelfAttention(10, heads=4)


def test_classifier_is_asked_at_time_zero_by_default_and_hears_the_time() -> None:
    torch.manual_seed(0)
    network, x = perturbed(Classifier(width=8, multipliers=(1, 2), blocks=1, patch=2)), normal(2, 1, 8, 8)
    assert torch.equal(network(x), network(x, torch.zeros(2)))
    assert (network(x, T) - network(x)).abs().max() > 1e-3
    assert torch.equal(network(x, T), network.last(network.features(x, T)))


def test_classifier_sees_the_whole_picture() -> None:
    torch.manual_seed(0)
    network, x = perturbed(Classifier(width=8, multipliers=(1, 2), blocks=1)), normal(1, 1, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 3], x)
    assert (gradient != 0).all()


def test_accuracy_counts_right_answers_in_every_batch() -> None:
    logits = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0])]
    assert accuracy(lambda x: x, logits, torch.tensor([0, 1, 2, 0, 1]), batch_size=2) == pytest.approx(0.6)
