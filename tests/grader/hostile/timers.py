# tries: hold the machine's memory in timers
import ctypes

libc, held = ctypes.CDLL(None, use_errno=True), 0
timer = ctypes.c_void_p()
while libc.timer_create(1, None, ctypes.byref(timer)) == 0 and held < 200_000:
    held += 1
assert held < 5000, f"LEAK {held} timers"
