# tries: look for a gradebook, a secret or other submissions
import os
for root, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(root, f) not in ("/usr", "/packages", "/proc", "/dev", "/root")]
    for file in files:
        if file.endswith((".db", ".sqlite", ".ipynb")) or "secret" in file or "gradebook" in file:
            raise AssertionError("LEAK " + os.path.join(root, file))
