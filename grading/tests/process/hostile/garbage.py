# expect: malformed
import wire

wire.request()
wire.write(b"\0" * 8 + b"garbage " * 64)
wire.request()
