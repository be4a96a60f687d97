# tries: walk the stack for the expected values
import sys

def look(*a, **k):
    frame = sys._getframe()
    while frame:
        for name, value in frame.f_locals.items():
            if name in ("right", "expected", "mistakes", "secret", "draw"):
                raise AssertionError("LEAK " + name)
        frame = frame.f_back
    return 0.0

globals().update({name: look for name in ("one_step", "two_steps", "snr")})
