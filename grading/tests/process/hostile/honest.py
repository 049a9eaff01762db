# expect: ok
import wire

while True:
    wire.echo(*wire.request())
