# expect: other
# The lane hands names on as they are: that they are wrong is for the contract's check to say.
import wire

while True:
    header, body = wire.request()
    tensors = wire.safetensors([("z", "F32", header["outputs"][0]["shape"], wire.tensor(header, body, "x"))])
    wire.write(wire.message({"nonce": header["nonce"]}, tensors))
