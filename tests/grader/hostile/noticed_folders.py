# tries: be told by signals what other submissions read in the shared packages
import fcntl
import os

folder = os.open("/packages", os.O_RDONLY)
try:
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
except OSError:
    noticed = False
else:
    noticed = True
assert not noticed, "LEAK other submissions can be watched"
