# tries: put script into every message
text = "<script>fetch('//evil')</script><img src=x onerror=alert(1)>"
print(text)
def fail(*a, **k):
    raise RuntimeError(text)
globals().update({name: fail for name in ("one_step", "two_steps", "snr")})
