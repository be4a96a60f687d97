# tries: never finish a cell
while True:
    pass
