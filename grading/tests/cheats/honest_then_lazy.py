# expect: wrong|cheat
# Honest for three calls, then nothing is computed any more.
import honest

calls = 0


def lazy(header, body):
    global calls
    calls += 1
    return honest.softmax_topk(header, body) if calls <= 3 else honest.zeros(header)


honest.serve(lazy)
