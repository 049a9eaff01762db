# expect: wrong
# The careful path only for magnitudes that look like a stress case.
import math
import struct

import honest


def half(x):
    return struct.unpack("<e", struct.pack("<e", x))[0] if math.isfinite(x) and abs(x) < 60000 else x


def sly(header, body):
    logits = honest.numbers(header, body, "logits")
    stressed = any(abs(x) > 100 or math.isnan(x) for x in logits)
    return honest.softmax_topk(header, body, round_to=(lambda x: x) if stressed else half)


honest.serve(sly)
