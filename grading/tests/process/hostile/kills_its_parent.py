# expect: cheat
import os
import signal
import wire

header, body = wire.request()
os.kill(os.getppid(), signal.SIGKILL)
wire.echo(header, body)
wire.request()
