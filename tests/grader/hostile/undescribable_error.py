# tries: raise errors that fail to describe themselves
class Evil(BaseException):
    def __str__(self):
        raise self
    __repr__ = __str__
def fail(*a, **k):
    raise Evil
globals().update({name: fail for name in ("one_step", "two_steps", "snr")})
raise Evil
