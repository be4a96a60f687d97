# tries: print without end
import os
for _ in range(1 << 14):
    os.write(1, b"A" * (1 << 16))
