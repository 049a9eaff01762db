# expect: wrong
# Draws the "same" logits again from a guessed seed instead of reading them.
import random
import struct

import honest


def guessed(header, body):
    random.seed(0)
    entry = header["inputs"][0]
    count = entry["bytes"] // 4
    drawn = struct.pack(f"<{count}f", *(random.gauss(0, 1) for _ in range(count)))
    entry["dtype"] = "f32"
    body = body[:entry["offset"]] + drawn + body[entry["offset"] + entry["bytes"]:]
    return honest.softmax_topk(header, body)


honest.serve(guessed)
