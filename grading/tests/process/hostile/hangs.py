# expect: timeout
import time
import wire

wire.request()
while True:
    time.sleep(1)
