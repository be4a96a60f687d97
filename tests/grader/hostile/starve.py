# tries: take the processor from whoever is graded meanwhile
import os
import threading

reached = []
for core in range(os.cpu_count() or 1):
    try:
        os.sched_setaffinity(0, [core])
        reached.append(core)
    except OSError:
        pass
assert not reached, f"LEAK cores {reached}"
for _ in range(64):
    try:
        threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
    except RuntimeError:
        break
while True:
    pass
