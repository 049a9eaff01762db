# expect: wrong
# The first logits of each row as if they were the answer.
import honest


def copied(header, body):
    rows, width, k = (header["sizes"][name] for name in ("R", "V", "K"))
    logits = honest.numbers(header, body, "logits")
    first = [x for r in range(rows) for x in (logits[r * width:(r + 1) * width] + [0.0] * k)[:k]]
    return {"prob": first, "index": list(range(k)) * rows, "lse": first[::max(k, 1)][:rows]}


honest.serve(copied)
