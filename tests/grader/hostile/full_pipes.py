# tries: hold the machine's memory in pipes
import fcntl
import os

held, ends = 0, []
while True:
    try:
        ends.append(os.pipe())
    except OSError:
        break
    for size in (1 << 20, 1 << 16):
        try:
            fcntl.fcntl(ends[-1][1], 1031, size)
            break
        except OSError:
            continue
    os.set_blocking(ends[-1][1], False)
    try:
        while True:
            held += os.write(ends[-1][1], bytes(1 << 20))
    except OSError:
        continue
assert held < 80 << 20, f"LEAK {held >> 20} MiB"
