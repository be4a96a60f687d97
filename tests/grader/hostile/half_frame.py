# tries: announce a frame and never finish it
import os, time
os.write(3, (1000).to_bytes(4, "big") + bytes(4) + b"{")
time.sleep(60)
