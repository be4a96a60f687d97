# tries: keep pages of deleted files, and of the machine's own, in pipes
import os

held = 0
reader, writer = os.pipe()
for number in range(50):
    with open("/tmp/x", "wb+") as file:
        file.write(bytes(1 << 16))
        try:
            held += os.splice(file.fileno(), writer, 1 << 16, offset_src=0)
        except OSError:
            pass
        try:
            held += os.sendfile(writer, file.fileno(), 0, 1 << 16)
        except OSError:
            pass
    os.unlink("/tmp/x")
    reader, writer = os.pipe()
assert held == 0, f"LEAK {held} bytes"
