"""Bounds: the maximum ulp errors the CUDA C++ Programming Guide documents for each function
(appendix "Mathematical Functions"); the reference is float64, or extended precision."""

import math

import numpy as np
from inputs import Case, bits, reals, ulp


def case():
    c = Case()
    n = 200
    exponent = (bits(5, n) % np.uint64(40)).astype(np.float64) - 30
    x = (reals(1, n, 1.0, np.float64) * np.exp2(exponent)).astype(np.float32)
    x[:8] = [1.0, -1.0, 0.5, 3.0, 88.0, -87.0, 1e-3, 100.0]
    x = np.clip(x, -80, 80)
    xd = (reals(2, n, 1.0, np.float64) * np.exp2(exponent / 2)).clip(-500, 500)
    c.given(x=x, xd=xd)
    v = x.astype(np.float64)
    turned = (x * np.float32(1e6)).astype(np.float64)
    scaled = (x * np.float32(1000.0)).astype(np.float64)
    power = np.float64(np.float32(1.7))
    rows = [
        (np.sin(v), 2), (np.cos(turned), 2), (np.exp(v), 2), (np.log(np.abs(v)), 1),
        (np.abs(v) ** power, 8), (np.tanh(v), 2), (np.array([math.erf(a) for a in v]), 2),
        (np.cbrt(v), 1), (v / 3, 0.5), (np.sqrt(np.abs(v)), 0.5), (np.fmod(scaled, 7.5), 0),
    ]  # fmt: skip
    out = np.stack([r for r, _ in rows])
    c.expect("out", out, np.stack([k * ulp(r, np.float32) for r, k in rows]))
    d = xd.astype(np.longdouble)
    rows = [(np.sin(d), 2), (np.exp(d), 1), (np.log(np.abs(d)), 1), (d / 3, 0.5), (np.sqrt(np.abs(d)), 0.5),
            (1 / np.sqrt(np.abs(d)), 1)]  # fmt: skip
    # The expectation itself is rounded to float64: half a unit more.
    out = np.stack([r.astype(np.float64) for r, _ in rows])
    c.expect("outd", out, np.stack([(k + 0.5) * ulp(r, np.float64) for (_, k), r in zip(rows, out)]))
    return c
