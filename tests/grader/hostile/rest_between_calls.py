# tries: take nearly as long as one call may, every time
import time

names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: time.sleep(1.8) for name in names})
