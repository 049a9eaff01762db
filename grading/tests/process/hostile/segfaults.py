# expect: crash
import os
import signal
import wire

wire.request()
os.kill(os.getpid(), signal.SIGSEGV)
