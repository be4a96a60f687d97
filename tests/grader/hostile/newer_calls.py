# tries: calls of kernels newer than the library that writes the filter
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
reached = []
for number in (*range(424, 436), 437, 438, 440, *range(442, 449), *range(450, 520)):
    libc.syscall(number, *[ctypes.c_long(-1)] * 6)
    if ctypes.get_errno() not in (1, 38):
        reached.append(number)
assert not reached, f"LEAK {reached}"
