# tries: send a safetensors block whose header lies about offsets
import json, os
header = json.dumps({"0": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 1 << 43]}}).encode()
block = len(header).to_bytes(8, "little") + header
text = b'{"value": {"$tensor": "0", "kind": "torch"}}'
os.write(3, len(text).to_bytes(4, "big") + len(block).to_bytes(4, "big") + text + block)
