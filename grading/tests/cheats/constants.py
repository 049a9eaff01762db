# expect: wrong
# A uniform distribution: right for no row, near for flat ones.
import math

import honest


def uniform(header, body):
    rows, width, k = (header["sizes"][name] for name in ("R", "V", "K"))
    return {"prob": [1 / width] * (rows * k), "index": list(range(k)) * rows, "lse": [math.log(width)] * rows}


honest.serve(uniform)
