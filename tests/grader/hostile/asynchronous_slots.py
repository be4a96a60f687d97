# tries: use up the machine's slots for asynchronous input and output
import ctypes
import platform

libc, number = ctypes.CDLL(None, use_errno=True), {"x86_64": 206, "aarch64": 0}[platform.machine()]
context, held = ctypes.c_ulong(0), 0
while libc.syscall(number, 1000, ctypes.byref(context)) == 0 and held < 100:
    held, context = held + 1, ctypes.c_ulong(0)
assert held == 0, f"LEAK {held * 1000} slots"
