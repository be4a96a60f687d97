# tries: take memory as tables of pages, one for every two megabytes that are touched
import ctypes
import mmap

libc, held = ctypes.CDLL(None), []
libc.mmap.restype = ctypes.c_void_p
while True:
    place = libc.mmap(None, ctypes.c_size_t(1 << 30), 1, 0x4022, -1, ctypes.c_long(0))  # reserved, and only read
    if place in (None, ctypes.c_void_p(-1).value):
        break
    for page in range(0, 1 << 30, 1 << 21):
        ctypes.string_at(place + page, 1)
    held.append(place)
assert len(held) < 16, f"LEAK {len(held)} GiB of address space"
