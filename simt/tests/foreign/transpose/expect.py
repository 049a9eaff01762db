import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    matrix = integers(1, (50, 71), 0, 65536, np.uint16)
    c.given(matrix=matrix)
    c.expect("turned", matrix.T.copy())
    return c
