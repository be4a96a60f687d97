# tries: crash so that the machine's own handler of crashes stores gigabytes
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(4, 1, 0, 0, 0) == -1 and libc.prctl(3, 0, 0, 0, 0) == 0, "LEAK its memory can be dumped"
ctypes.string_at(0)
