# tries: send signals to every process
import os, signal
for pid in [-1, *range(2, 1000)]:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
