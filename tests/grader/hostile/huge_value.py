# tries: return more numbers than may be sent
import torch

names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: torch.zeros(1 << 26) for name in names})
