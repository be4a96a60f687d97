# tries: send random bytes
import os
os.write(3, os.urandom(4096))
