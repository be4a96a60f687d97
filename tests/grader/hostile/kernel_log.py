# tries: read the machine's log from the kernel
import ctypes

libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 16)
assert libc.klogctl(10, None, 0) < 0 and libc.klogctl(3, buffer, 1 << 16) < 0, "LEAK " + repr(buffer.raw[:80])
