# tries: return a text of many megabytes
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: "x" * (1 << 26) for name in names})
