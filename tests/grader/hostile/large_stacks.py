# tries: take memory as the stacks of many threads
import ctypes
import resource
import threading
import time

def fill():
    hoard = (ctypes.c_char * (200 << 20))()
    ctypes.memset(hoard, 1, 200 << 20)
    time.sleep(30)

resource.setrlimit(resource.RLIMIT_STACK, (resource.getrlimit(resource.RLIMIT_STACK)[1],) * 2)
threading.stack_size(256 << 20)
for _ in range(32):
    try:
        threading.Thread(target=fill, daemon=True).start()
    except (RuntimeError, MemoryError):
        break
time.sleep(30)
