# expect: wrong
# f16 where f32 was asked for.
import math
import struct

import honest


def half(x):
    return struct.unpack("<e", struct.pack("<e", x))[0] if math.isfinite(x) and abs(x) < 60000 else x


honest.serve(lambda header, body: honest.softmax_topk(header, body, round_to=half))
