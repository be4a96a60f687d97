# tries: keep a thread running that answers on the channel
import os, threading

def flood():
    while True:
        try:
            os.write(3, b"\0\0\0\x0c\0\0\0\0" + b'{"value": 1}')
        except OSError:
            return

threading.Thread(target=flood, daemon=True).start()
