# tries: find out where the course lies on the instructor's disk
import glob

found = []
for kind in ("*.pth", "__editable__*", "__pycache__/__editable__*", "*.egg-link", "*.dist-info/direct_url.json"):
    for name in glob.glob(f"/packages/{kind}"):
        try:
            content = open(name, "rb").read()
        except OSError:
            continue
        if content.startswith(b"/") or b"MAPPING" in content or b"file://" in content:
            found.append(name)
assert not found, f"LEAK {found}"
