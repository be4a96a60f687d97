# tries: hold the machine's memory in connections that nobody accepts, each with a full buffer
import socket

held = 0
for number in range(4):
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"\0{number}")
    server.listen(4096)
    server.detach()
    for _ in range(1000):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(f"\0{number}")
            held += client.send(bytes(200_000))
        except OSError:
            break
        client.close()
assert held < 100 << 20, f"LEAK {held >> 20} MiB"
