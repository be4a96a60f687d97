"""A device that is not there, to see on a CPU alone what the library would do on a GPU.

`DEVICE` is torch's place for a backend of one's own (PrivateUse1), registered under the name "pretended" for the whole process. A
tensor on it holds a CPU tensor that does the computing, so values are the CPU's, and every operation first passes the rules of CUDA.
(Wrapped tensors that claim to be on "cuda" end the process in a build without CUDA: autograd asks for its streams.)

Pretended as on CUDA:
- Operands lie on one device. Let through are numbers `()` from the CPU in elementwise operations, and CPU indices in x[index].
- Random numbers come from a generator of the same device; inside `pretend()`, torch.Generator(DEVICE) makes one.
- A result goes to the device asked for: device=, .to, .cpu, *_like, new_*; .numpy() is refused.
- `waits()` counts what makes the CPU wait for the device (.item(), bool, float, .tolist(), .cpu(), a boolean mask as an index,
  nonzero, unique, torch.equal, the checks of linalg, ...), and what is copied to it.

Not pretended: memory, speed, streams and pinned memory (each copy to the CPU waits); CUDA's own rounding, kernels, random numbers and
the lower precision of autocast, which does nothing here; dtypes that a device lacks; several devices; resize_, set_ and an assignment
to .data, which are refused. torch.accelerator sees the device from the import on, and torch 2.6 to 2.9 may lack what registers it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretended"
CPU = torch.device("cpu")
aten = torch.ops.aten


class _Backend(_DummyBackendModule):
    """What torch asks of torch.pretended; autocast wants this beyond the usual."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


if not hasattr(torch, NAME):
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    _library = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    _library.fallback(torch.library.fallthrough_kernel)  # without it nothing at all runs inside an autocast
DEVICE = torch.device(NAME, 0)

# Operations that wait on CUDA, since their result has a size or a Python value that the data decide, or since they check the data.
WAITING = {
    aten._local_scalar_dense,  # .item(), bool, int, float
    aten.is_nonzero,
    aten.equal,
    aten.allclose,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
    aten._linalg_eigh,
    aten._linalg_svd,
    aten.linalg_eig,
    aten._linalg_check_errors,
}
# Operations that take a number `()` from the CPU though torch does not call them elementwise.
TAKES_NUMBERS = {aten.fill_, aten.fill, aten.masked_fill, aten.masked_fill_, aten.index_put, aten.index_put_}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


@dataclass
class Waits:
    """What was counted so far: the operations that waited for the device, and those that copied something to it."""

    waited: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)


_counters: list[Waits] = []


@contextmanager
def waits() -> Iterator[Waits]:
    """Count, inside, what waits for the device and what is copied to it: `with waits() as seen: ...; assert not seen.waited`."""
    seen = Waits()
    _counters.append(seen)
    try:
        yield seen
    finally:
        _counters.pop()


def waited(name: str) -> None:
    for seen in _counters:
        seen.waited.append(name)


def copied(name: str) -> None:
    for seen in _counters:
        seen.copied.append(name)


class PretendedTensor(Tensor):
    """A tensor that lies on DEVICE as far as anyone can see; `inner` is the CPU tensor that it stands for."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendedTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        tensor.inner = inner
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    # With these two, Module.to puts the moved weights into the same Parameter objects, as it does on CUDA.
    def __tensor_flatten__(self):
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, outer_size, outer_stride):
        return PretendedTensor(inner["inner"])

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"{self.inner!r} on {DEVICE}"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else super().__format__(spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            copy.__dict__.update({name: value for name, value in vars(self).items() if name != "inner"})
            memo[id(self)] = copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return self.cpu().detach().__reduce_ex__(protocol)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        raise NotImplementedError("a pretended tensor's data cannot be replaced: copy into it with copy_")

    # Files of weights are written from these, and from a copy on the CPU.
    def untyped_storage(self):
        return self.inner.untyped_storage()

    def storage(self):
        return self.inner.storage()

    def data_ptr(self):
        return self.inner.data_ptr()

    def tolist(self):
        waited("tolist")
        return self.inner.tolist()

    def numpy(self, *, force: bool = False):
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first.")
        return self.detach().cpu().numpy()

    def __array__(self, dtype=None, copy=None):
        return self.numpy()


class _Mode(TorchDispatchMode):
    """Every operation inside, also one that has no pretended operand yet, such as torch.zeros(3, device=DEVICE)."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to keep torch.compile out of here would import it, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Hold an operation to the rules, compute it on the CPU, and put the result where it belongs."""
    leaves = pytree.tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    pretended = [tensor for tensor in tensors if isinstance(tensor, PretendedTensor)]
    target = kwargs.get("device")
    target = target if target is not None else DEVICE if pretended else CPU
    if not pretended and target.type != NAME:
        check_generators(leaves, CPU)
        return func(*args, **kwargs)
    # Inference mode hands on whole what is otherwise taken apart before it comes here.
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _Mode():
            return func.decompose(*args, **kwargs)
    # Forward mode makes zeros without memory, which have a key that a wrapper does not show.
    if func is aten._efficientzerotensor.default:
        func = aten.zeros.default
    packet = func.overloadpacket
    if packet in (aten.copy_, aten._to_copy):
        count_copy(str(packet), args, target)
    else:
        check_devices(func, args, kwargs)
        check_generators(leaves, target)
    if packet in WAITING or (packet in INDEXING and has_mask(args)):
        waited(str(packet))
    inner_args, inner_kwargs = pytree.tree_map_only(PretendedTensor, lambda tensor: tensor.inner, (args, kwargs))
    if "device" in kwargs and target.type == NAME:
        inner_kwargs["device"] = CPU
    result = func(*inner_args, **inner_kwargs)
    if target.type != NAME:
        return result
    result = pytree.tree_map_only(Tensor, PretendedTensor, result)
    if pretended:
        result = return_and_correct_aliasing(func, args, kwargs, result)
    for tensor in pretended:
        if tensor.shape != tensor.inner.shape:
            raise NotImplementedError(f"{func} gives a pretended tensor another shape in place")
    return result


def count_copy(name: str, args: tuple, target: torch.device) -> None:
    """Count a copy from one device to the other, either into a tensor (copy_) or as a new one."""
    source = args[1] if name == "aten.copy_" else args[0]
    there = args[0].device if name == "aten.copy_" else target
    if {there.type, source.device.type} == {"cpu", NAME}:  # torch itself asks for shapes on "meta"
        (copied if there.type == NAME else waited)(name)


def has_mask(args: tuple) -> bool:
    """Whether a pretended boolean mask is among the indices; a single number that is put where it holds needs no wait."""
    masks = [i for i in args[1] if isinstance(i, PretendedTensor) and i.dtype in (torch.bool, torch.uint8)]
    return bool(masks) and not (len(args) > 2 and args[2].numel() == 1)


def check_devices(func, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise RuntimeError where the operands lie on several devices, unless CUDA would take them."""
    packet = func.overloadpacket
    operands = (args, kwargs)
    if packet in INDEXING:
        indices = [index for index in args[1] if index is not None]
        if args[0].device == CPU and any(index.device != CPU for index in indices):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        for index in indices:
            if index.device == CPU:
                copied(f"{packet} by an index from the CPU")
        operands = (args[0], args[2:], kwargs)
    tensors = [leaf for leaf in pytree.tree_leaves(operands) if isinstance(leaf, Tensor)]
    # An operation that is told the device, such as empty_like, reads no more of its operand than the shape.
    if len({tensor.device for tensor in tensors}) < 2 or "device" in kwargs:
        return
    written = {id(leaf) for leaf in pytree.tree_leaves(written_by(func, args, kwargs))}
    elementwise = torch.Tag.pointwise in func.tags or packet in TAKES_NUMBERS
    for tensor in tensors:
        if tensor.device == CPU and (tensor.ndim > 0 or id(tensor) in written or not elementwise):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
                f"(when checking the operands of {packet})"
            )


def written_by(func, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    """The operands that an operation writes to."""
    given = {**dict(zip((argument.name for argument in func._schema.arguments), args)), **kwargs}
    return [
        given.get(argument.name)
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def check_generators(leaves: list[Any], device: torch.device) -> None:
    """Raise RuntimeError where a generator lies elsewhere than the numbers that it is to draw."""
    for leaf in leaves:
        if isinstance(leaf, torch._C.Generator):
            found = _generators.get(leaf._cdata, leaf).device.type
            if found != device.type:
                raise RuntimeError(f"Expected a '{device.type}' device type for generator but found '{found}'")


class PretendedGenerator(torch.Generator):
    """A CPU's generator that says it lies on DEVICE; with one seed it draws the CPU's numbers."""

    def __init__(self) -> None:
        _generators[self._cdata] = self

    @property
    def device(self) -> torch.device:
        return DEVICE

    def clone_state(self) -> "PretendedGenerator":
        clone = PretendedGenerator()
        clone.set_state(self.get_state())
        return clone


# By address: torch hands an operation a plain generator on the same numbers, not the object that it was given.
_generators: WeakValueDictionary[int, PretendedGenerator] = WeakValueDictionary()


class _AnyGenerator(type):
    """So that isinstance(generator, torch.Generator) still holds of every generator inside `pretend()`."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, torch._C.Generator)


class _Generator(metaclass=_AnyGenerator):
    """torch.Generator inside `pretend()`: it makes one on DEVICE, too."""

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:
        return PretendedGenerator() if torch.device(device).type == NAME else torch._C.Generator(device)


@contextmanager
def pretend() -> Iterator[None]:
    """Inside, tensors and generators can be made on DEVICE or moved there; the rules hold for these also outside."""
    lifts, made_by = torch._C._only_lift_cpu_tensors(), torch.Generator
    # torch.tensor(..., device=DEVICE) then makes the tensor on the CPU and copies it, through `run`.
    torch._C._set_only_lift_cpu_tensors(True)
    torch.Generator = _Generator  # type: ignore[misc,assignment]
    try:
        with _Mode():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.Generator = made_by  # type: ignore[misc]


def generator(seed: int) -> torch.Generator:
    """A generator on DEVICE."""
    return PretendedGenerator().manual_seed(seed)


def move(thing: Any) -> Any:
    """The thing with all its tensors on DEVICE: a tensor, a module, or lists, tuples and dictionaries of them."""
    with pretend():
        if isinstance(thing, nn.Module):
            return thing.to(DEVICE)
        return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(DEVICE), thing)
