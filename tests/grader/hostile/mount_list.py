# tries: ask the kernel where on the instructor's disk the shared folders lie
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(1 << 16)
request = (ctypes.c_uint64 * 4)(24, 0xFFFFFFFFFFFFFFFF, 0, 0)
count = libc.syscall(458, request, buffer, 1000, 0)  # listmount: every mount of this namespace
found = []
for number in (ctypes.c_uint64 * max(0, count)).from_buffer_copy(buffer.raw[: 8 * max(0, count)]):
    question, answer = (ctypes.c_uint64 * 4)(24, number, 0x8, 0), ctypes.create_string_buffer(1 << 12)
    if libc.syscall(457, question, answer, 1 << 12, 0) == 0:  # statmount: its root
        found.append(answer.raw[512:].split(b"\0")[0].decode(errors="replace"))
assert count < 0, f"LEAK {count} mounts: {sorted(found)}"
