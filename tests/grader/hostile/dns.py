# tries: ask a name server
import socket
try:
    socket.getaddrinfo("example.com", 80)
except OSError:
    pass
else:
    raise AssertionError("LEAK dns")
