# expect: malformed
import struct
import sys
import wire

wire.request()
wire.write(struct.pack("<QQ", 40, 40) + b'{"nonce":')
sys.exit(0)
