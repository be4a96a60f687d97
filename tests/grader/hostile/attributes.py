# tries: hold the machine's memory in attributes of empty files
import os

held = 0
for number in range(9000):
    open(f"/tmp/{number}", "w").close()
    for name in ("user.a", "user.b", "security.c"):
        try:
            os.setxattr(f"/tmp/{number}", name, bytes(60_000))
            held += 60_000
        except OSError:
            continue
    if held > 600 << 20:
        break
assert held < 50 << 20, f"LEAK {held >> 20} MiB"
