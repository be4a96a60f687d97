# tries: read what administrators keep below /usr: settings of JupyterHub and nbgrader, with passwords of databases
import os

found = []
for top in ("/usr/local/etc", "/usr/etc", "/usr/local/src", "/usr/src"):
    for root, _, files in os.walk(top):
        found += [f"{root}/{file}" for file in files]
assert not found, f"LEAK {len(found)} files: {found[:5]}"
