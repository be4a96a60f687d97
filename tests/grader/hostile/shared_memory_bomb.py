# tries: fill shared memory
number = 0
while True:
    try:
        with open(f"/dev/shm/{number}", "wb") as file:
            file.write(bytes(1 << 24))
        number += 1
    except OSError:
        break
