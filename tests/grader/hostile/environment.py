# tries: read secrets from the environment
import os
leaks = [k for k in os.environ if any(word in k.upper() for word in ("SECRET", "TOKEN", "KEY", "PASSWORD", "COURSE", "DATABASE"))]
assert not leaks, "LEAK " + " ".join(leaks)
