# expect: limit
import wire

wire.request()
number = 0
while True:
    number += 1
    with open(f"file{number}", "wb") as file:
        for _ in range(8):
            file.write(b"x" * (1 << 20))
