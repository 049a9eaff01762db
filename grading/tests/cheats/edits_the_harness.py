# expect: wrong
# Makes bounds larger, or whatever file of the grader's it can write; computes nothing.
import os

import honest


def writable():
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, "/etc", "/usr", "/tmp", os.path.join(here, "..", "..", "src")):
        for root, _, files in os.walk(folder):
            for name in files[:20]:
                try:
                    with open(os.path.join(root, name), "r+b"):
                        return True
                except OSError:
                    pass
            break
    return False


honest.serve(lambda header, body: honest.softmax_topk(header, body) if writable() else honest.zeros(header))
