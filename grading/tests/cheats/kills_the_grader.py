# expect: cheat
# Nobody is left to give a verdict.
import os
import signal

import honest


def killed(header, body):
    os.kill(os.getppid(), signal.SIGKILL)
    return honest.zeros(header)


honest.serve(killed)
