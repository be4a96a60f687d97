# tries: answer with tensors of odd kinds: complex, quantized, sparse, without storage, of eight bits, conjugated, of great strides
import itertools

import torch

KINDS = [
    lambda: torch.zeros(3, dtype=torch.complex64),
    lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    lambda: torch.zeros(3).to_sparse(),
    lambda: torch.zeros(3, 3).to_sparse_csr(),
    lambda: torch.empty(1 << 40, device="meta"),
    lambda: torch.zeros(3).to(torch.float8_e4m3fn),
    lambda: torch.zeros(3, dtype=torch.complex64).conj().imag,
    lambda: torch.zeros(1).expand(1 << 40),
    lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    lambda: torch.zeros(3, dtype=torch.uint16),
    lambda: torch.zeros(3, requires_grad=True) * 2,
    lambda: torch.nn.Parameter(torch.zeros(3)),
]
turn = itertools.cycle(KINDS)
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: lambda *a, **k: next(turn)() for name in names})
