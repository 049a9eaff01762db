# expect: timeout
import wire

wire.request()
while True:
    pass
