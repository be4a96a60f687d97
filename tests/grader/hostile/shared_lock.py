# tries: tell an accomplice the answers, bit by bit, with locks on files that all submissions see
import fcntl
import glob

held = []
for name in sorted(glob.glob("/packages/*/__init__.py"))[:60]:
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            with open(name) as first, open(name) as second:
                lock(first, fcntl.LOCK_SH)
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.append(name)
assert not held, f"LEAK {len(held)} locks that others see"
