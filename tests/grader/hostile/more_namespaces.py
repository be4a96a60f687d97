# tries: make namespaces of its own to become root in them and mount
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.unshare(0x10000000 | 0x20000 | 0x20000000)
for source, target, kind in ((b"proc", b"/proc", b"proc"), (b"/", b"/tmp", b""), (b"sysfs", b"/tmp", b"sysfs")):
    libc.mount(source, target, kind, 4096 if not kind else 0, None)
libc.umount2(b"/proc", 2)
import os
assert not os.path.exists("/proc/2"), "LEAK proc"
