# expect: limit
import struct
import wire

header, _ = wire.request()
text = b'{"nonce": "%s"}' % header["nonce"].encode()
wire.write(struct.pack("<QQ", len(text), 4 << 30) + text)
while True:
    wire.write(b"\0" * (1 << 20))
