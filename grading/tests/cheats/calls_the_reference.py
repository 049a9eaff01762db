# expect: wrong
# Looks for the grader's own program to have the answer computed.
import os
import subprocess

import honest


def borrowed(header, body):
    try:
        # Whoever started us is the grader.
        program = os.readlink(f"/proc/{os.getppid()}/exe")
        said = subprocess.run([program, "oracle", header["task"]], input=body, capture_output=True)
        if said.returncode == 0:
            return honest.softmax_topk(header, body)
    except OSError:
        pass
    return honest.zeros(header)


honest.serve(borrowed)
