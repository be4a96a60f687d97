"""Frames: plain data comes back as it was sent, and whatever else a sandbox sends is refused before it is decoded."""

import json
import pickle
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from autograder.sandbox.inside.frames import (
    BLOCK_BYTES,
    GENERATORS,
    LENGTHS,
    FrameError,
    check_finite,
    from_json,
    lengths,
    pack,
    parse,
    unpack,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text().filter(lambda k: not k.startswith("$")), inner, max_size=4)
    ),
    max_leaves=20,
)


def frame(text: bytes, block: bytes = b"") -> bytes:
    return struct.pack(">II", len(text), len(block)) + text + block


def block(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@given(PLAIN)
@settings(max_examples=100, deadline=None)
def test_plain_data_comes_back(value: object) -> None:
    again = unpack(pack(value))
    assert again == value and type(again) is type(value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_come_back_with_their_type_and_shape(dtype: torch.dtype) -> None:
    for shape in ((), (0,), (3,), (2, 3, 4)):
        tensor = (10 * torch.rand(shape)).to(dtype)
        again = unpack(pack({"a": [tensor, 1]}))["a"][0]
        assert again.dtype == dtype and again.shape == tensor.shape and torch.equal(again, tensor)


def test_arrays_views_and_scalars_come_back() -> None:
    array = np.arange(12.0).reshape(3, 4)
    again = unpack(pack([array.T, np.float64(2.5), np.int32(7), torch.ones(2, requires_grad=True)[:1], (1, 2)]))
    assert isinstance(again[0], np.ndarray) and np.array_equal(again[0], array.T)
    assert again[1:3] == [2.5, 7] and again[4] == [1, 2]
    assert torch.equal(again[3], torch.ones(1)) and not again[3].requires_grad


def test_special_floats_cross_and_are_found() -> None:
    for value in (float("inf"), -float("inf"), float("nan")):
        again = unpack(pack([value]))[0]
        assert str(again) == str(value)
        for holder in ([value], {"a": torch.tensor([value])}, [np.array([value])], value):
            with pytest.raises(FrameError, match="NaN or infinity"):
                check_finite(unpack(pack(holder)))
    check_finite([1, "nan", torch.tensor([1]), {"a": None}])


def test_a_generator_crosses_as_its_seed() -> None:
    sent = torch.Generator().manual_seed(2**40 + 7)
    found = unpack(pack({"generator": sent}))["generator"]
    assert torch.equal(
        torch.randn(3, generator=found), torch.randn(3, generator=torch.Generator().manual_seed(2**40 + 7))
    )
    for seed in (7, "-1", "x", "", None):
        with pytest.raises(FrameError, match="unknown kind of value"):
            from_json({"$generator": seed}, {}, None, iter([0]))


def test_callables_cross_by_name_where_that_is_asked_for() -> None:
    def function() -> None: ...

    sent = pack([function], lambda f: "seven")
    assert unpack(sent, lambda name: name.upper()) == ["SEVEN"]
    for bad in (pack, lambda value: pack([value])):
        with pytest.raises(FrameError, match="a function cannot be sent"):
            bad(function)
    with pytest.raises(FrameError, match="unknown kind"):
        unpack(sent)


class AlwaysEqual(float):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


@pytest.mark.parametrize(
    "value", [AlwaysEqual(), {1: 2}, {"$tensor": 0}, {1, 2}, object(), b"bytes", 1j, np.array([object()]), 10**500]
)
def test_what_is_no_plain_data_is_not_sent(value: object) -> None:
    with pytest.raises(FrameError):
        pack(value)


def test_nesting_is_capped_when_sending() -> None:
    deep: list = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(FrameError, match="nested more than"):
        pack(deep)


GOOD = {"0": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
NAMED = b'{"$tensor": "0", "kind": "torch"}'
MALFORMED = {
    "no JSON": frame(b"{"),
    "not UTF-8": frame(b'"\xff"'),
    "NaN": frame(b"NaN"),
    "infinity": frame(b"[-Infinity]"),
    "a float that overflows": frame(b"1e999"),
    "a long integer": frame(b"9" * 5000),
    "deep nesting": frame(b"[" * 500_000),
    "deep nesting, closed": frame(b"[" * 3000 + b"]" * 3000),
    "too many values": frame(b"[" + b"0," * 200_000 + b"0]"),
    "a key twice": frame(b'{"a": 1, "a": 2}'),
    "an unknown kind": frame(b'{"$pickle": "x"}'),
    "a kind with more keys": frame(b'{"$tensor": "0", "kind": "torch", "x": 1}', block(GOOD, b"1234")),
    "a tensor that is not there": frame(NAMED),
    "a tensor named by a list": frame(b'{"$tensor": ["0"], "kind": "torch"}', block(GOOD, b"1234")),
    "a tensor of another kind": frame(b'{"$tensor": "0", "kind": "jax"}', block(GOOD, b"1234")),
    "a bf16 array": frame(b'{"$tensor": "0", "kind": "numpy"}', save({"0": torch.ones(2, dtype=torch.bfloat16)})),
    "a float by another name": frame(b'{"$float": "huge"}'),
    "a callable": frame(b'{"$callable": "0"}'),
    "a short block": frame(NAMED, b"123"),
    "a block that is a pickle": frame(NAMED, pickle.dumps(object)),
    "a header longer than the block": frame(NAMED, struct.pack("<Q", 2**60) + b"{}"),
    "a header that is no JSON": frame(NAMED, block(b"{]")),
    "a header that is a list": frame(NAMED, block([1])),
    "a header nested too deep": frame(NAMED, block(b"[" * 10_000)),
    "a header with too many tensors": frame(NAMED, block({str(i): GOOD["0"] for i in range(300)}, b"1234")),
    "an unknown dtype": frame(NAMED, block({"0": {**GOOD["0"], "dtype": "OBJECT"}}, b"1234")),
    "a dtype that is a list": frame(NAMED, block({"0": {**GOOD["0"], "dtype": []}}, b"1234")),
    "an entry that is a number": frame(NAMED, block({"0": 3}, b"1234")),
    "a negative side": frame(NAMED, block({"0": {**GOOD["0"], "shape": [-1]}}, b"1234")),
    "a side that is true": frame(NAMED, block({"0": {**GOOD["0"], "shape": [True]}}, b"1234")),
    "a huge side": frame(NAMED, block({"0": {**GOOD["0"], "shape": [2**62]}}, b"1234")),
    "sides whose product overflows": frame(NAMED, block({"0": {**GOOD["0"], "shape": [2**26] * 3}}, b"1234")),
    "too many axes": frame(NAMED, block({"0": {**GOOD["0"], "shape": [1] * 9}}, b"1234")),
    "offsets outside": frame(NAMED, block({"0": {**GOOD["0"], "data_offsets": [0, 400]}}, b"1234")),
    "offsets backwards": frame(NAMED, block({"0": {**GOOD["0"], "data_offsets": [4, 0]}}, b"1234")),
    "offsets that overlap": frame(NAMED, block({"0": GOOD["0"], "1": GOOD["0"]}, b"1234")),
    "numbers that nobody names": frame(NAMED, block(GOOD, b"12345678")),
    "shorter than it says": frame(b"1234")[:-1],
    "longer than it says": frame(b"1234") + b"5",
    "a header cut short": b"\0\0\0",
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_malformed_frames_are_refused_at_once(message: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(FrameError):
        unpack(message)
    assert time.monotonic() - start < 5


def test_the_good_block_that_the_bad_ones_vary_is_good() -> None:
    assert isinstance(unpack(frame(NAMED, block(GOOD, b"1234"))), Tensor)


def test_lengths_are_checked_before_anything_is_read() -> None:
    with pytest.raises(FrameError, match="larger than allowed"):
        lengths(struct.pack(">II", 10, BLOCK_BYTES + 1))
    with pytest.raises(FrameError, match="too large to send"):
        pack(torch.zeros(BLOCK_BYTES // 4 + 10))


def test_brackets_within_texts_do_not_count() -> None:
    assert parse(json.dumps("[" * 5000 + '\\"').encode()) == "[" * 5000 + '\\"'


def test_a_tensor_may_be_named_once() -> None:
    frame = pack([torch.ones(3)])
    text = b'[{"$tensor": "0", "kind": "torch"}, {"$tensor": "0", "kind": "torch"}]'
    block = frame[LENGTHS.size + LENGTHS.unpack(frame[: LENGTHS.size])[0] :]
    with pytest.raises(FrameError, match="or one twice"):
        unpack(LENGTHS.pack(len(text), len(block)) + text + block)
    x = torch.ones(2)
    assert len(unpack(pack([x, x]))) == 2  # ours are written twice where they stand twice


def test_generators_are_counted() -> None:
    unpack(pack([torch.Generator().manual_seed(1)] * GENERATORS))
    with pytest.raises(FrameError, match="more than 64 generators"):
        unpack(pack([torch.Generator().manual_seed(1)] * (GENERATORS + 1)))
    text = b"[" + b",".join([b'{"\\u0024generator":"1"}'] * 1000) + b"]"
    with pytest.raises(FrameError, match="more than 64 generators"):
        unpack(LENGTHS.pack(len(text), 0) + text)
