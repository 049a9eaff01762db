# expect: malformed
import struct
import wire

wire.request()
wire.write(struct.pack("<QQ", 7, 0) + b"garbage")
wire.request()
