# tries: read the environment and the arguments where the kernel put them, above the stack
import ctypes
import sys

libc = ctypes.CDLL(None)
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
found, number = [*sys.orig_argv], 0
while environ[number]:
    found.append(environ[number].decode(errors="replace"))
    number += 1
leaks = [text for text in found if any(word in text for word in ("SECRET", "term", "gradebook", "suites", "/work", "submitted"))]
assert not leaks, f"LEAK {leaks}"
