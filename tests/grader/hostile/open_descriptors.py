# tries: search its open files for a way out
import os
kinds = []
for number in range(4, 200):
    try:
        os.fstat(number)
        kinds.append(number)
    except OSError:
        pass
assert not kinds, f"LEAK {kinds}"
