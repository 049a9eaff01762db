# expect: malformed
import wire

header, _ = wire.request()
wire.write(wire.message({"nonce": header["nonce"]}, b"garbage " * 8))
wire.request()
