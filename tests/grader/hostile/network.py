# tries: send what it sees to a server
import socket
reached = []
for host, port in (("127.0.0.1", 22), ("1.1.1.1", 53), ("169.254.169.254", 80)):
    try:
        socket.create_connection((host, port), timeout=0.5)
        reached.append(host)
    except OSError:
        pass
assert not reached, f"LEAK {reached}"
