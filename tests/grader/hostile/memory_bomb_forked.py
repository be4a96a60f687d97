# tries: take all memory in many processes
import os, time
for _ in range(20):
    try:
        if os.fork() == 0:
            try:
                hoard = bytearray(b"x") * (1 << 30)
            finally:
                time.sleep(30)
    except OSError:
        break
time.sleep(30)
