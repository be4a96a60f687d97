# tries: restart the machine, load a module, change its name and its clock, switch off its swap, become another user
import ctypes

libc, done = ctypes.CDLL(None, use_errno=True), []
for name, *arguments in (
    ("sethostname", b"x", 1),
    ("swapoff", b"/dev/sda"),
    ("acct", b"/tmp/x"),
    ("chroot", b"/tmp"),
    ("settimeofday", bytes(16), None),
    ("reboot", 0x89ABCDEF),
    ("setuid", 0),
    ("setgroups", 0, None),
    ("init_module", None, 0, b""),
    ("iopl", 3),
    ("mknod", b"/tmp/disk", 0o60600, 0x800),
):
    try:
        if getattr(libc, name)(*arguments) == 0:
            done.append(name)
    except AttributeError:
        continue
assert not done, f"LEAK {done}"