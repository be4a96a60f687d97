# tries: read the keys of the instructor's session, and leave one there for the next submission
import ctypes
import platform

libc = ctypes.CDLL(None)
numbers = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[platform.machine()]
buffer = ctypes.create_string_buffer(4096)
assert libc.syscall(numbers[0], b"user", b"answers", b"mine", 4, -3) == -1, "LEAK a key stays"
assert libc.syscall(numbers[2], 11, -3, buffer, 4096) == -1, "LEAK the session's keys"
