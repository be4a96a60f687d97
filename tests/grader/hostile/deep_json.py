# tries: send JSON nested a hundred thousand levels deep
import os
text = b"[" * 100_000 + b"]" * 100_000
os.write(3, len(text).to_bytes(4, "big") + bytes(4) + text)
