"""The network of 2015: its layer and its readout written out, and what follows from where time enters."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.nets.multiscale import MultiScale, MultiScaleConvolution, bump_weights


def network(**options) -> MultiScale:
    torch.manual_seed(0)
    return MultiScale(
        **{"channels": 2, "width": 6, "depth": 2, "scales": 3, "hidden": 5, "bumps": 4, "T": 10.0, **options}
    )


def test_a_layer_adds_the_convolutions_of_all_scales():
    torch.manual_seed(0)
    layer, x = MultiScaleConvolution(2, 3, 3), torch.randn(2, 2, 8, 8)
    total = torch.zeros(2, 3, 8, 8)
    for power, convolution in enumerate(layer.scales):
        small = F.avg_pool2d(x, 2**power) if power else x
        total = total + convolution(small).repeat_interleave(2**power, 2).repeat_interleave(2**power, 3)
    torch.testing.assert_close(layer(x), total, rtol=1e-5, atol=1e-5)


def test_bumps_add_up_to_one_and_peak_at_their_centres():
    centres = torch.linspace(0, 1, 6)
    weights = bump_weights(torch.linspace(0, 1, 101), centres)
    torch.testing.assert_close(weights.sum(1), torch.ones(101))
    assert torch.equal(weights[::20].argmax(1), torch.arange(6))
    # the ratio of two neighbours' heights is that of Gaussians whose width is half the distance of the centres
    torch.testing.assert_close((weights[0, 1] / weights[0, 0]).log(), torch.tensor(-2.0), rtol=1e-4, atol=1e-4)


def test_time_mixes_images_that_do_not_depend_on_it():
    """At any time the answer is a weighted sum of the same `bumps` images: those at four times explain all others."""
    net, x = network(), torch.randn(1, 2, 8, 8)
    times = torch.linspace(0, 10, 9)
    answers = net(x.expand(9, -1, -1, -1), times).flatten(1)
    assert torch.linalg.matrix_rank(answers, rtol=1e-4) == 4
    images = net.readout(F.silu(net.layers[1](F.silu(net.layers[0](x))))).unflatten(1, (2, 4))[0]
    expected = torch.einsum("ckhw,nk->nchw", images, bump_weights(times / 10, net.centres))
    torch.testing.assert_close(answers, expected.flatten(1), rtol=1e-4, atol=1e-5)


def test_it_moves_with_the_picture_and_takes_any_size():
    net = network(width=4)
    picture = torch.zeros(1, 2, 64, 64)
    picture[:, :, 24:36, 24:36] = torch.randn(1, 2, 12, 12)
    moved = picture.roll((8, 4), (2, 3))
    t = torch.tensor([3.0])
    inside = (..., slice(28, 40), slice(28, 40))  # where no layer sees the border
    both = net(moved, t)[inside], net(picture, t).roll((8, 4), (2, 3))[inside]
    assert both[0].std() > 1e-3
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)
    assert net(picture[..., :32], t).shape == (1, 2, 64, 32)


def test_wrong_input_is_refused():
    net = network()
    with pytest.raises(ValueError, match="multiples of 4"):
        net(torch.zeros(1, 2, 10, 8), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="cond must be None"):
        net(torch.zeros(1, 2, 8, 8), torch.tensor([1.0]), torch.tensor([0]))
    assert net.takes is None
