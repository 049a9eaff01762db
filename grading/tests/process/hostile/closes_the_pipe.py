# expect: malformed
import os
import time
import wire

wire.request()
os.close(wire.ANSWERS)
time.sleep(3600)
