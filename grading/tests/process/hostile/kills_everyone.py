# expect: cheat
import os
import signal
import wire

header, body = wire.request()
os.kill(-1, signal.SIGKILL)
wire.echo(header, body)
wire.request()
