# tries: look for the hidden tests on disk
import glob, os
found = [open(f, errors="ignore").read() for pattern in ("/**/test_*.py", "/**/mutants.toml", "/**/suites/**") for f in glob.glob(pattern, recursive=True) if "site-packages" not in f and "/packages/" not in f and "/usr/" not in f and os.path.isfile(f)]
assert not found, "LEAK tests " + found[0][:200]
