# expect: limit
import os
import wire

wire.request()
while True:
    try:
        os.fork()
    except OSError:
        pass
