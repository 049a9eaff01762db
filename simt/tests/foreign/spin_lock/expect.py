import numpy as np
from inputs import Case


def case():
    c = Case()
    c.given(mutex=np.zeros(1, np.int32), counter=np.zeros(1, np.int32), sum=np.zeros(1, np.uint64))
    c.expect("mutex", np.zeros(1, np.int32))
    c.expect("counter", np.array([96], np.int32))
    c.expect("sum", np.array([3 * sum(range(96))], np.uint64))
    return c
