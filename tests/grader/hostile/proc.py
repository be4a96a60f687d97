# tries: read the memory and files of other processes
import os
for pid in range(2, 400):
    for what in ("mem", "environ", "maps", "fd", "root"):
        if os.path.exists(f"/proc/{pid}/{what}"):
            raise AssertionError(f"LEAK /proc/{pid}/{what}")
