# expect: wrong
# Answers at once and goes on computing in another thread.
import threading

import honest

late = {}


def later(header, body):
    thread = threading.Thread(target=lambda: late.update(honest.softmax_topk(header, body)))
    thread.start()
    return honest.zeros(header)


honest.serve(later)
