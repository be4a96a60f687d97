# tries: hold the machine's memory in locks, one for every other byte of a file
import fcntl
import struct

file, held = open("/tmp/x", "w"), 0
for place in range(0, 2000, 2):
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, 0, place, 1, 0)
    fcntl.fcntl(file, fcntl.F_SETLK, lock)
    held += struct.unpack("hhqqi", fcntl.fcntl(file, 36, lock))[0] != fcntl.F_UNLCK  # asked as another owner
assert held == 0, f"LEAK {held} locks"
