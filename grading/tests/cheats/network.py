# expect: cheat
# Asks another machine.
import socket

import honest


def asked(header, body):
    with socket.create_connection(("192.0.2.1", 80), timeout=1):
        return honest.softmax_topk(header, body)


honest.serve(asked)
