# expect: timeout
import wire

wire.request()
while True:
    print("x" * 4000)
