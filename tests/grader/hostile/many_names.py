# tries: hold the machine's memory in a million names of one file
import os

open("/tmp/x", "w").close()
held = 0
try:
    while held < 100_000:
        os.link("/tmp/x", f"/tmp/{'n' * 200}{held}")
        held += 1
except OSError:
    pass
assert held < 20_000, f"LEAK {held} names"
