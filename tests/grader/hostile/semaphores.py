# tries: take the machine's memory where no process has it: semaphores, messages, pages in pipes
import ctypes
import mmap
import os

libc = ctypes.CDLL(None, use_errno=True)
held = []
for _ in range(500):
    held += [libc.semget(0, 32000, 0o600), libc.msgget(0, 0o600)]
    pipe = os.pipe()
    page = mmap.mmap(-1, 1 << 21)
    page.write(bytes([1]) * (1 << 21))
    held.append(libc.vmsplice(pipe[1], ctypes.c_char_p(bytes(16)), 1, 2))
    os.close(pipe[0])
    os.close(pipe[1])
assert max(held) < 0, f"LEAK {max(held)}"
