# expect: wrong
# Candidates above a threshold that Gaussian logits pass often enough, in a buffer of fixed size.
import honest


def bounded(row, kept):
    mean = sum(row) / len(row)
    candidates = [i for i, x in enumerate(row) if x > mean][:64 + kept]
    candidates += [i for i in range(len(row)) if i not in candidates][:kept]
    return sorted(candidates[:64 + kept], key=lambda i: (-row[i], i))[:kept]


honest.serve(lambda header, body: honest.softmax_topk(header, body, order=bounded))
