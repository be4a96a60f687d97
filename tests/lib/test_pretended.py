"""The pretended device keeps CUDA's rules, counts what waits, and computes the CPU's numbers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from course_lib.nets.unet import UNet
from tests.lib.pretended import DEVICE, PretendedTensor, generator, move, pretend, waits

CPU = torch.device("cpu")
A = torch.linspace(-1, 2, 12).reshape(3, 4)
FIRST = torch.tensor([0])


@pytest.fixture(autouse=True)
def inside():
    with pretend():
        yield


def number(value: float = 2.0) -> Tensor:
    return torch.tensor(value)


def put(x: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of x with a value in some places."""
    x = x.clone()
    x[index] = value
    return x


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + A,
    "add in place": lambda x: A.clone().add_(x),
    "add to a number in place": lambda x: number().add_(x.sum()),
    "matrix product": lambda x: x @ A.T,
    "einsum": lambda x: torch.einsum("ij,kj->ik", A, x),
    "cat": lambda x: torch.cat([x, A]),
    "stack": lambda x: torch.stack([x, A]),
    "stack of numbers": lambda x: torch.stack([x.sum(), number()]),
    "where": lambda x: torch.where(x > 0, x, A),
    "lerp": lambda x: torch.lerp(x, x, A),
    "cdist": lambda x: torch.cdist(x, A),
    "gather": lambda x: x.gather(0, torch.zeros(1, 4, dtype=torch.int64)),
    "index_select": lambda x: x.index_select(0, FIRST),
    "put a row": lambda x: put(x, (FIRST,), A[:1]),
    "index of a CPU tensor": lambda x: A[FIRST.to(DEVICE)],
    "embedding": lambda x: F.embedding(FIRST, x),
    "linear": lambda x: F.linear(x, A),
    "convolution": lambda x: F.conv2d(x[None, None], A[None, None]),
    "cross entropy": lambda x: F.cross_entropy(x, torch.zeros(3, dtype=torch.int64)),
    "quantiles": lambda x: x.quantile(torch.tensor([0.1, 0.5])),
    "module": lambda x: nn.Linear(4, 2)(x),
    "jvp": lambda x: torch.func.jvp(torch.sin, (x,), (A,)),
}


@pytest.mark.parametrize("name", MIXED)
def test_operands_on_two_devices_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"same device"):
        MIXED[name](A.to(DEVICE))


ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "number plus": lambda x: number() + x,
    "number to the power": lambda x: number() ** x,
    "number below": lambda x: (number() < x).to(x.dtype),
    "where": lambda x: torch.where(x > 0, number(), x),
    "lerp": lambda x: torch.lerp(x, 2 * x, number()),
    "clamp": lambda x: x.clamp(number(0), number(1)),
    "fill": lambda x: x.clone().fill_(number()),
    "put a number": lambda x: put(x, x > 0, number()),
    "rows by an index from the CPU": lambda x: x[FIRST],
    "a mask from the CPU": lambda x: x[A > 0],
    "put by an index from the CPU": lambda x: put(x, (FIRST,), x[1:2]),
    "copy": lambda x: torch.zeros_like(x).copy_(A),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_lets_through_gives_the_cpus_values(name: str) -> None:
    x = A.to(DEVICE)
    result = ALLOWED[name](x)
    assert result.device == DEVICE
    assert torch.equal(result.cpu(), ALLOWED[name](A))


MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda x: torch.zeros(3, device=DEVICE),
    "full": lambda x: torch.full((3,), 2.0, device=DEVICE),
    "arange": lambda x: torch.arange(3, device=DEVICE),
    "linspace": lambda x: torch.linspace(0, 1, 3, device="pretended"),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=DEVICE),
    "as_tensor": lambda x: torch.as_tensor([1.0, 2.0], device=DEVICE),
    "zeros like": lambda x: torch.zeros_like(x),
    "zeros like a CPU tensor": lambda x: torch.zeros_like(A, device=DEVICE),
    "new zeros": lambda x: x.new_zeros(3),
    "new tensor": lambda x: x.new_tensor([1.0]),
    "to a device": lambda x: A.to(DEVICE),
    "to another tensor": lambda x: A.double().to(x),
    "to a dtype": lambda x: x.double(),
}


@pytest.mark.parametrize("name", MADE)
def test_tensors_are_made_where_they_are_asked_for(name: str) -> None:
    made = MADE[name](A.to(DEVICE))
    assert isinstance(made, PretendedTensor)
    assert made.device == DEVICE


def test_tensors_come_back_to_the_cpu_as_plain_ones() -> None:
    x = A.to(DEVICE)
    for back in (x.cpu(), x.to("cpu"), x.to(A), torch.zeros_like(x, device="cpu"), torch.zeros(2)):
        assert type(back) is Tensor
        assert back.device == CPU
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()


DRAWS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "randn": lambda x, g: torch.randn(3, generator=g, device=x.device),
    "rand": lambda x, g: torch.rand(3, generator=g, device=x.device),
    "randint": lambda x, g: torch.randint(0, 9, (3,), generator=g, device=x.device),
    "randperm": lambda x, g: torch.randperm(9, generator=g, device=x.device),
    "randn_like": lambda x, g: torch.randn_like(x, generator=g),
    "multinomial": lambda x, g: torch.multinomial(x.abs(), 2, generator=g),
    "bernoulli": lambda x, g: torch.bernoulli(x.abs().clamp(max=1), generator=g),
    "poisson": lambda x, g: torch.poisson(x.abs(), generator=g),
    "normal": lambda x, g: torch.normal(x, 1.0, generator=g),
    "normal_": lambda x, g: x.clone().normal_(generator=g),
    "uniform_": lambda x, g: x.clone().uniform_(generator=g),
    "exponential_": lambda x, g: x.clone().exponential_(generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_need_a_generator_of_their_device(name: str) -> None:
    draw, x = DRAWS[name], A.to(DEVICE)
    with pytest.raises(RuntimeError, match="Expected a 'pretended' device type for generator but found 'cpu'"):
        draw(x, torch.Generator())
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator but found 'pretended'"):
        draw(A, generator(0))
    drawn = draw(x, torch.Generator(DEVICE).manual_seed(3))
    assert drawn.device == DEVICE
    assert torch.equal(drawn.cpu(), draw(A, torch.Generator().manual_seed(3)))


def test_generators_say_where_they_lie() -> None:
    assert generator(0).device == torch.Generator("pretended").device == DEVICE
    assert torch.Generator().device == CPU
    assert isinstance(generator(0), torch.Generator)
    assert isinstance(torch.Generator(), torch.Generator)


WAITING: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0, 0]),
    "bool": lambda x: bool((x > 0).any()),
    "if": lambda x: 1 if x.sum() > 0 else 0,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "copy to the CPU": lambda x: torch.zeros(3, 4).copy_(x),
    "format": lambda x: f"{x.sum():.2f}",
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "put by a mask": lambda x: put(x, x > 0, torch.ones(8, device=DEVICE)),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "eigh": lambda x: torch.linalg.eigh(x @ x.T),
    "cholesky": lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3, device=DEVICE)),
}
NOT_WAITING: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda x: x.sum(),
    "put a number by a mask": lambda x: put(x, x > 0, 0.0),
    "index": lambda x: x[torch.zeros(1, dtype=torch.int64, device=DEVICE)],
    "quantile": lambda x: x.quantile(0.3, dim=1),
    "shape": lambda x: len(x) + x.shape[1],
    "cdist": lambda x: torch.cdist(x, x),
    "sort": lambda x: x.sort(),
    "full": lambda x: torch.full((3,), 2.0, device=DEVICE),
}


@pytest.mark.parametrize("name", WAITING)
def test_each_wait_is_counted(name: str) -> None:
    x = A.to(DEVICE)
    with waits() as seen:
        WAITING[name](x)
    assert len(seen.waited) == 1


def test_nothing_else_waits_nor_copies() -> None:
    x = A.to(DEVICE)
    for work in NOT_WAITING.values():
        with waits() as seen:
            work(x)
        assert not seen.waited
        assert not seen.copied


def test_inference_mode_hides_no_wait() -> None:
    x = A.to(DEVICE)
    with torch.inference_mode(), waits() as seen:
        assert bool((x.to(torch.float64).to("cpu") == A).all())
    assert len(seen.waited) == 1


def test_each_copy_to_the_device_is_counted() -> None:
    with waits() as seen:
        x = A.to(DEVICE)
        torch.tensor([1.0], device=DEVICE)
        x[FIRST]
        x[0] = A[0]
    assert len(seen.copied) == 4
    assert not seen.waited


VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "eigenvectors": lambda x: torch.linalg.eigh(x @ x.T)[1].abs(),
    "cdist": lambda x: torch.cdist(x, x),
    "quantile": lambda x: x.quantile(0.3, dim=1),
    "where": lambda x: torch.where(x > 0, x, -x),
    "cat": lambda x: torch.cat([x, 2 * x]),
    "view in place": lambda x: put(x, 0, 1.0).t().contiguous(),
    "shape in place": lambda x: x.clone().unsqueeze_(0) + 1,
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
    "gradient": lambda x: torch.func.grad(lambda z: (z.sin() @ z.T).sum())(x),
    "jvp": lambda x: torch.func.jvp(lambda z: (z.sin() @ z.T).sum(), (x,), (x,))[1],
    "jvp with numbers": lambda x: torch.func.jvp(lambda z: 1 - z**2 / 2 * 3.0, (x,), (x,))[1],
    "vmap": lambda x: torch.func.vmap(lambda row: row.cumsum(0))(x),
    "no autocast": lambda x: disabled_autocast(x),
}


def disabled_autocast(x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=False):
        return x @ x.T


@pytest.mark.parametrize("name", VALUES)
def test_values_are_the_cpus(name: str) -> None:
    result = VALUES[name](A.to(DEVICE))
    assert result.device == DEVICE
    assert torch.equal(result.cpu(), VALUES[name](A))


def test_the_rules_hold_for_a_pretended_tensor_outside_too() -> None:
    x = A.to(DEVICE)
    with _disable_current_modes(), pytest.raises(RuntimeError, match="same device"):
        x + A


def test_what_the_harness_cannot_do_is_refused() -> None:
    x = A.to(DEVICE)
    with pytest.raises(NotImplementedError, match="copy_"):
        x.data = torch.zeros(1, device=DEVICE)


def unet() -> UNet:
    """A small network none of whose weights is 0."""
    torch.manual_seed(0)
    network = UNet(width=8, multipliers=(1, 2), blocks=1, attention=(1,), classes=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return network


X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
T, LABELS = torch.tensor([10, 900]), torch.tensor([0, 2])


def test_unet_has_the_cpus_output_gradients_and_jvp() -> None:
    plain = unet()
    moved = move(copy.deepcopy(plain))
    x, t, labels = move((X, T, LABELS))
    with waits() as seen:
        output = moved(x, t, labels)
        output.square().mean().backward()
        slope = torch.func.jvp(lambda z: moved(z, t, labels), (x,), (x,))[1]
    assert not seen.waited
    assert not seen.copied
    expected = plain(X, T, LABELS)
    expected.square().mean().backward()
    assert torch.allclose(output.cpu(), expected, atol=1e-5)
    for one, other in zip(moved.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad.cpu(), other.grad, atol=1e-5)
    assert torch.allclose(slope.cpu(), torch.func.jvp(lambda z: plain(z, T, LABELS), (X,), (X,))[1], atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_of_adamw_is_the_cpus(fused: bool) -> None:
    def trained(device: torch.device) -> nn.Module:
        torch.manual_seed(0)
        network = nn.Linear(4, 2).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=fused)
        network(A.to(device)).square().sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return network

    moved = trained(DEVICE)
    assert moved.weight.device == DEVICE
    assert torch.equal(moved.weight.cpu(), trained(CPU).weight)


def test_modules_move_and_load_and_copy_as_on_cuda() -> None:
    network = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    before = list(network.parameters())
    network.to(DEVICE)
    assert all(one is other for one, other in zip(network.parameters(), before, strict=True))
    assert {tensor.device for tensor in network.state_dict().values()} == {DEVICE}
    other = copy.deepcopy(network)
    other.load_state_dict({name: tensor.cpu() + 1 for name, tensor in network.state_dict().items()})
    assert other[0].weight.device == DEVICE
    assert torch.equal(other[0].weight.cpu(), network[0].weight.cpu() + 1)
