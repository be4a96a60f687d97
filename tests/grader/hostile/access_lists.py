# tries: hold the machine's memory in access lists of empty files, which no limit counts
import os
import struct

mine = struct.pack("<HHI", 2, 7, os.getuid())
entries = struct.pack("<I", 2) + struct.pack("<HHI", 1, 7, 0xFFFFFFFF) + mine * 8000
entries += b"".join(struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (4, 16, 32))
held = 0
for number in range(9000):
    os.mkdir(f"/tmp/{number}")
    for name in ("access", "default"):
        try:
            os.setxattr(f"/tmp/{number}", f"system.posix_acl_{name}", entries)
            held += len(entries)
        except OSError as error:
            refused = error
    if not held or held > 600 << 20:
        break
assert not held, f"LEAK {held >> 20} MiB"
