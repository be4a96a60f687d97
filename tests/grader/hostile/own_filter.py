# tries: put a filter of its own above the grader's, which allows everything
import ctypes
import struct

libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
libc.prctl(22, 2, program, 0, 0)
import os
try:
    os.fork()
except OSError:
    pass
else:
    raise AssertionError("LEAK it forks")
