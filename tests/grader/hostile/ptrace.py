# tries: attach to other processes
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
reached = [pid for pid in range(2, 5000) if libc.ptrace(16, pid, 0, 0) == 0]
assert not reached, f"LEAK {reached}"
