# expect: unsupported
import wire

while True:
    header, _ = wire.request()
    wire.write(wire.message({"nonce": header["nonce"], "unsupported": "no such shape"}, b""))
