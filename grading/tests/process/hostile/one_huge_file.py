# expect: limit
# Python ignores SIGXFSZ; a C program would die of it.
import signal
import wire

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
wire.request()
with open("file", "wb") as file:
    while True:
        file.write(b"x" * (1 << 20))
