# tries: use up the machine's pseudo-terminals
import os

opened = []
try:
    while True:
        opened.append(os.open("/dev/ptmx", os.O_RDWR))
except OSError:
    pass
assert not opened, f"LEAK {len(opened)} terminals"
