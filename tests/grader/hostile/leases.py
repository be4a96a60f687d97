# tries: be told when another process opens a file that all share
import fcntl
import glob

held = []
for name in glob.glob("/packages/*/__init__.py")[:20] + glob.glob("/course/*.py"):
    try:
        file = open(name)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        held.append(file)
    except OSError:
        continue
assert not held, f"LEAK {len(held)} leases"
