# tries: call the kernel in its two other ways, which a filter may forget: x32, and 32-bit calls in machine code
import ctypes
import platform

libc = ctypes.CDLL(None, use_errno=True)
if platform.machine() == "x86_64":
    assert libc.syscall(0x40000000 | 425, 8, bytes(120)) < 0, "LEAK x32"
    code = bytes.fromhex("53b8390000000f05b802000000cd805bc3")  # fork by int 0x80
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    ctypes.memmove(place, code, len(code))
    found = ctypes.CFUNCTYPE(ctypes.c_long)(place)()
    assert found < 0, f"LEAK int 0x80 gave {found}"
