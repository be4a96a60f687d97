# tries: send a pickle in the place of numbers
import json, os, pickle
text, block = b'{"value": {"$tensor": "0", "kind": "torch"}}', pickle.dumps(print)
os.write(3, len(text).to_bytes(4, "big") + len(block).to_bytes(4, "big") + text + block)
