# tries: send an answer before the question
import json, os
text = json.dumps({"value": [None] * 50}).encode()
os.write(3, len(text).to_bytes(4, "big") + bytes(4) + text)
