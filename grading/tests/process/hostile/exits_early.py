# expect: cheat
import sys
import wire

wire.request()
sys.exit(0)
