# tries: hold the machine's memory in messages that nobody reads
import socket

held, open_ones = 0, []
for number in range(100):
    try:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(f"\0{number}")
        open_ones.append(receiver)
        for _ in range(11):
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sender.setblocking(False)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            held += sender.sendto(bytes(200_000), f"\0{number}")
            sender.close()
    except OSError:
        continue
assert held < 100 << 20, f"LEAK {held >> 20} MiB"
