"""Messages between the grader and a sandbox: plain data in length-prefixed frames, checked before anything is decoded.

A frame is two big-endian uint32 lengths, JSON of the first length, and a safetensors block of the second. Tensors and arrays
stand in the JSON as {"$tensor": name, "kind": ...} and lie in the block; a fresh torch.Generator stands there by its seed. What
comes out of a sandbox may be anything at all: each cap below is checked on bytes or counts, before the step that it protects,
and every violation is a `FrameError`.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

JSON_BYTES = 1 << 20
BLOCK_BYTES = 1 << 26
DEPTH = 32
ITEMS = 100_000  # values in one message
TENSORS = 1024
GENERATORS = 64  # in one message; each takes 5 kB, and its name a hundredth of that
AXES = 8
DIGITS = 400  # of an integer
TENSOR, CALLABLE, GENERATOR = "$tensor", "$callable", "$generator"
DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
LENGTHS = struct.Struct(">II")


class FrameError(ValueError):
    """A message that breaks the rules; its text says which, and never repeats what the message held."""


def pack(value: Any, reference: Callable[[Any], str] | None = None) -> bytes:
    """A value of plain data as one frame; `reference` names callables. Raises FrameError for anything else."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(to_json(value, tensors, reference, 0), allow_nan=False).encode()
    block = save(tensors) if tensors else b""
    if len(text) > JSON_BYTES or len(block) > BLOCK_BYTES:
        raise FrameError(f"the value is too large to send: {len(text)} bytes of text, {len(block)} of numbers")
    return LENGTHS.pack(len(text), len(block)) + text + block


def to_json(value: Any, tensors: dict[str, Tensor], reference: Callable[[Any], str] | None, depth: int) -> Any:
    """The value with tensors taken out of it, and floats that JSON cannot hold written as text."""
    if depth > DEPTH:
        raise FrameError(f"the value is nested more than {DEPTH} levels deep")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if abs(value) >= 10**DIGITS:
            raise FrameError(f"an integer has more than {DIGITS} digits")
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return tensor_to_json(value, tensors)
    if kind in (list, tuple):
        return [to_json(item, tensors, reference, depth + 1) for item in value]
    if kind is dict:
        if any(type(key) is not str or key.startswith("$") for key in value):
            raise FrameError("the keys of a dict must be texts that do not start with $")
        return {key: to_json(item, tensors, reference, depth + 1) for key, item in value.items()}
    if kind is torch.Generator:
        return {GENERATOR: str(value.initial_seed())}
    if reference is not None and callable(value):
        return {CALLABLE: reference(value)}
    raise FrameError(f"a {kind.__name__} cannot be sent: return numbers, texts, lists, dicts, arrays or tensors")


def tensor_to_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A tensor or array, moved into `tensors`; a NumPy scalar becomes a number."""
    if isinstance(value, np.generic):
        return to_json(value.item(), tensors, None, 0)
    kind, name = "torch" if isinstance(value, Tensor) else "numpy", str(len(tensors))
    try:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, copy=True))
        tensors[name] = tensor.detach().to("cpu").contiguous().clone()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise FrameError(f"an array of {value.dtype} cannot be sent") from error
    return {TENSOR: name, "kind": kind}


def unpack(frame: bytes, resolve: Callable[[str], Any] | None = None) -> Any:
    """The value in one whole frame; `resolve` gives the callable of a name. Raises FrameError where a rule is broken."""
    text_length, block_length = lengths(frame[: LENGTHS.size])
    if len(frame) != LENGTHS.size + text_length + block_length:
        raise FrameError("the frame is not as long as it says")
    body = memoryview(frame)[LENGTHS.size :]
    tree = parse(bytes(body[:text_length]))
    tensors = parse_block(bytes(body[text_length:]))
    return from_json(tree, tensors, resolve, iter(range(GENERATORS)))


def lengths(header: bytes) -> tuple[int, int]:
    """The two lengths in a frame's first eight bytes, within the caps."""
    if len(header) != LENGTHS.size:
        raise FrameError("the frame ends within its header")
    text_length, block_length = LENGTHS.unpack(header)
    if text_length > JSON_BYTES or block_length > BLOCK_BYTES:
        raise FrameError("the frame is larger than allowed")
    return text_length, block_length


def read(stream: BinaryIO) -> bytes:
    """The next whole frame of a stream; raises EOFError where the stream ends before it, FrameError where it is too large."""
    header = stream.read(LENGTHS.size)
    if not header:
        raise EOFError("the stream ended")
    size = sum(lengths(header))
    body = stream.read(size)
    if len(body) != size:
        raise EOFError("the stream ended within a frame")
    return header + body


def parse(text: bytes) -> Any:
    """JSON without surprises: no deep nesting, no long integers, no NaN or infinity, no key twice."""
    check_depth(text)

    def refuse(constant: str) -> None:
        raise FrameError(f"{constant} is not allowed in JSON")

    def whole(digits: str) -> int:
        if len(digits) > DIGITS:
            raise FrameError(f"an integer has more than {DIGITS} digits")
        return int(digits)

    def finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise FrameError("a number is too large for a float")
        return number

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FrameError("a key stands twice in one object")
        return found

    try:
        return json.loads(text, parse_constant=refuse, parse_int=whole, parse_float=finite, object_pairs_hook=unique)
    except FrameError:
        raise
    except (ValueError, RecursionError) as error:
        raise FrameError("the message is no JSON") from error


def check_depth(text: bytes) -> None:
    """Raise a FrameError where brackets outside of texts nest too deep or separate too many values: the parser never sees those."""
    depth = items = 0
    inside = escaped = False
    for byte in text:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # backslash
                escaped = True
            elif byte == 0x22:  # quotation mark
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > 2 * DEPTH:
                raise FrameError("the message is nested too deep")
        elif byte in b"]}":
            depth -= 1
        elif byte == 0x2C:  # comma
            items += 1
            if items > ITEMS:
                raise FrameError("the message holds too many values")


def parse_block(block: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors block whose header was checked first."""
    if not block:
        return {}
    if len(block) < 8 or (size := int.from_bytes(block[:8], "little")) > min(len(block) - 8, JSON_BYTES):
        raise FrameError("the block of numbers is malformed")
    header = parse(block[8 : 8 + size])
    if type(header) is not dict or len(header) > TENSORS:
        raise FrameError("the block of numbers is malformed")
    for name, entry in header.items():
        if name != "__metadata__":  # texts about the file, which nobody reads
            check_entry(entry)
    try:
        return load(block)
    except (SafetensorError, ValueError, TypeError, RuntimeError, KeyError, OverflowError) as error:
        raise FrameError("the block of numbers is malformed") from error


def check_entry(entry: Any) -> None:
    """Raise a FrameError unless one tensor's entry has an allowed dtype and a sane shape."""
    entry = entry if type(entry) is dict else {}
    shape, dtype = entry.get("shape"), entry.get("dtype")
    if type(shape) is not list or len(shape) > AXES or type(dtype) is not str or dtype not in DTYPES:
        raise FrameError("the block of numbers holds a tensor of an unknown kind")
    if any(type(side) is not int or not 0 <= side <= BLOCK_BYTES for side in shape):
        raise FrameError("the block of numbers holds a tensor of an impossible shape")


def from_json(
    tree: Any, tensors: dict[str, Tensor], resolve: Callable[[str], Any] | None, generators: Iterator[int]
) -> Any:
    """The tree with its tensors, special floats and callables put in."""
    if type(tree) is list:
        return [from_json(item, tensors, resolve, generators) for item in tree]
    if type(tree) is not dict:
        return tree
    special = [key for key in tree if key.startswith("$")]
    if not special:
        return {key: from_json(item, tensors, resolve, generators) for key, item in tree.items()}
    if tree.keys() == {TENSOR, "kind"} and tree["kind"] in ("torch", "numpy"):
        # Each tensor once: a short message could name a large one often enough to keep its reader busy for hours.
        tensor = tensors.pop(tree[TENSOR], None) if type(tree[TENSOR]) is str else None
        if tensor is None:
            raise FrameError("the message names a tensor that it does not hold, or one twice")
        if tree["kind"] == "numpy" and tensor.dtype == torch.bfloat16:
            raise FrameError("the message holds an array of a kind that NumPy does not know")
        return tensor if tree["kind"] == "torch" else tensor.numpy()
    if tree.keys() == {"$float"} and tree["$float"] in ("nan", "inf", "-inf"):
        return float(tree["$float"])
    if tree.keys() == {GENERATOR} and type(tree[GENERATOR]) is str and re.fullmatch("[0-9]{1,19}", tree[GENERATOR]):
        if next(generators, None) is None:
            raise FrameError(f"the message holds more than {GENERATORS} generators")
        return torch.Generator().manual_seed(int(tree[GENERATOR]))
    if tree.keys() == {CALLABLE} and resolve is not None and type(tree[CALLABLE]) is str:
        return resolve(tree[CALLABLE])
    raise FrameError("the message holds an unknown kind of value")


def check_finite(value: Any) -> None:
    """Raise a FrameError where a number anywhere in a value is NaN or infinite."""
    if type(value) is float and not math.isfinite(value):
        raise FrameError("the value holds NaN or infinity")
    if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise FrameError("the tensor holds NaN or infinity")
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not bool(np.isfinite(value).all()):
        raise FrameError("the array holds NaN or infinity")
    if type(value) is list:
        for item in value:
            check_finite(item)
    if type(value) is dict:
        for item in value.values():
            check_finite(item)
