# tries: hold more open files than allowed, on their way in messages, each a full pipe
import array
import fcntl
import os
import socket

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.setblocking(False)
sent = 0
for _ in range(2000):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        os.write(writer, bytes(1 << 16))
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reader, writer]))])
        sent += 2
    except OSError:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        theirs = theirs.detach()
    os.close(reader)
    os.close(writer)
assert sent < 600, f"LEAK {sent} files in flight"
