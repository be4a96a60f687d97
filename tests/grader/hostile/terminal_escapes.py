# tries: put terminal escapes into names and messages
class Evil(Exception):
    pass
Evil.__name__ = "\x1b[2J\x1b]0;owned\x07"
def fail(*a, **k):
    raise Evil("\x1b[1;31m100 of 100 points\x1b[0m\r")
globals().update({name: fail for name in ("one_step", "two_steps", "snr")})
