# tries: take memory that counts as stack and not as data, in the place of the library's own
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
while True:
    place = libc.mmap(None, 1 << 25, 3, 0x22 | 0x100, -1, 0)  # private, anonymous, growing down
    if place in (None, ctypes.c_void_p(-1).value):
        break
    ctypes.memset(place, 1, 1 << 25)
raise MemoryError
