# expect: other
# The lane hands NaN on as it is: that it is wrong is for the checks to say.
import struct
import wire

while True:
    header, body = wire.request()
    count = len(wire.tensor(header, body, "x")) // 4
    nan = struct.pack("<f", float("nan")) * count
    tensors = wire.safetensors([("y", "F32", header["outputs"][0]["shape"], nan)])
    wire.write(wire.message({"nonce": header["nonce"]}, tensors))
