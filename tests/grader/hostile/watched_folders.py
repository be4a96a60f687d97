# tries: use up the instructor's watches, and see what the next submission opens in the shared packages
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(0o4000)
for name in os.listdir("/packages"):
    libc.inotify_add_watch(watch, f"/packages/{name}".encode(), 0xFFF)
assert watch < 0, "LEAK other submissions can be watched"
