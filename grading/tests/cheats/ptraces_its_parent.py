# expect: cheat
# Looks for the expected values in the memory of the process that started it.
import ctypes
import os

import honest

PTRACE_ATTACH = 16


def spied(header, body):
    ctypes.CDLL(None).ptrace(PTRACE_ATTACH, os.getppid(), 0, 0)
    return honest.softmax_topk(header, body)


honest.serve(spied)
