# tries: name one large tensor thirty thousand times in a small answer
import json

import safetensors.torch
import torch
from autograder.sandbox.inside import frames

block = safetensors.torch.save({"0": torch.zeros(1 << 24)})
text = json.dumps({"value": [{"$tensor": "0", "kind": "torch"}] * 30_000}).encode()
frames.pack = lambda *a, **k: frames.LENGTHS.pack(len(text), len(block)) + text + block
