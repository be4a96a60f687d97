# tries: send special values that are none: floats, generators, functions and tensors with more keys, other types, twice
import itertools
import json

from autograder.sandbox.inside import frames, service

VALUES = [
    {"$float": "1e400"},
    {"$float": ["nan"]},
    {"$float": "nan", "a": 1},
    {"$generator": "9" * 19},
    {"$generator": "٣"},
    {"$generator": -1},
    [{"$generator": "1"}] * 65,
    {"$callable": "0"},
    {"$callable": "__import__"},
    {"$tensor": ["0"], "kind": "torch"},
    {"$tensor": "0", "kind": ["torch"]},
    {"$tensor": "0", "kind": "torch"},
    {"$": None},
    [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0.0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
]
turn, honest = itertools.cycle(VALUES), frames.pack

def pack(value, *a):
    if value.get("value") != 0.0:
        return honest(value, *a)
    text = json.dumps({"value": next(turn)}).encode()
    return frames.LENGTHS.pack(len(text), 0) + text

service.frames.pack = pack
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: 0.0 for name in names})
