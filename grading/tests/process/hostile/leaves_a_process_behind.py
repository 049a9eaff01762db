# expect: ok
# Its child outlives it in a session of its own; the end of the program ends it too.
import os
import time
import wire

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
while True:
    wire.echo(*wire.request())
