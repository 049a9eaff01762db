# expect: crash
import wire

wire.request()
kept = []
while True:
    kept.append(open("/dev/null"))
