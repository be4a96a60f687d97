# tries: raise SystemExit with code 0
raise SystemExit(0)
