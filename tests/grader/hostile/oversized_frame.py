# tries: announce four gigabytes
import os
os.write(3, b"\xff" * 8)
