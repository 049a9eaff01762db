# expect: wrong|cheat
# Results kept by the shape of the call: the same shape comes back with other numbers.
import honest

kept = {}


def cached(header, body):
    key = str(header["sizes"]) + str(header["parameters"]) + str(header["inputs"])
    if key not in kept:
        kept[key] = honest.softmax_topk(header, body)
    return kept[key]


honest.serve(cached)
