# tries: ask the kernel about the machine's network, its devices and its audits
import socket

reached = []
for family, kind in ((16, 3), (17, 3), (2, 3), (2, 2), (10, 1), (29, 3), (31, 1), (4, 2), (21, 5), (44, 3), (15, 3), (43, 1)):
    for protocol in (0, 4, 9, 15, 16, 21):
        try:
            socket.socket(family, kind, protocol)
            reached.append((family, protocol))
        except OSError:
            continue
assert not reached, f"LEAK {reached}"
