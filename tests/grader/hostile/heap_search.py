# tries: search its memory, which was the warm parent's, for what other submissions or the grader left there
import ctypes
import sys

libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
end = libc.sbrk(ctypes.c_long(0))
start = id(sys) & ~0xFFFFF
words = [word.encode() + tail for word in ("BEGIN SOLU", "COURSE_SEC", "mutants.to") for tail in (b"TION", b"RET", b"ml")][::4]
found = []
heap = ctypes.string_at(end - (8 << 20), 8 << 20) if end else b""
for word in words:
    if word in heap.replace(b"words", b""):
        found.append(word)
assert not found, f"LEAK {found}"
