# tries: hold the machine's memory in signals that wait
import ctypes
import os
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {40})
libc, held = ctypes.CDLL(None, use_errno=True), 0
while libc.sigqueue(os.getpid(), 40, ctypes.c_void_p(0)) == 0 and held < 200_000:
    held += 1
assert held < 5000, f"LEAK {held} signals"
