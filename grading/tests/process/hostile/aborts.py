# expect: crash
import os
import wire

wire.request()
os.abort()
