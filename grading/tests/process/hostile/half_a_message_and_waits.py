# expect: timeout
import struct
import wire

wire.request()
wire.write(struct.pack("<QQ", 40, 40) + b'{"nonce":')
wire.request()
