import numpy as np
from inputs import U, Case, reals


def case():
    c = Case()
    rows, n = 4, 600
    x = (reals(1, (rows, n), 2.0) + np.array([0, 3, -1, 10])[:, None]).astype(np.float16)
    gamma, beta = reals(2, n, 1.5), reals(3, n, 0.5)
    c.given(x=x, gamma=gamma, beta=beta)
    v, u = x.astype(np.float64), U["f32"]
    mean = v.mean(1, keepdims=True)
    # Sums of n terms, any order, then one division.
    dmean = (n + 1) * u * np.abs(v).mean(1, keepdims=True)
    centred = v - mean
    dcentred = dmean + u * np.abs(centred)
    var = (centred**2).mean(1, keepdims=True)
    dvar = (2 * np.abs(centred) * dcentred).mean(1, keepdims=True) + (dcentred**2).mean(1, keepdims=True) + (n + 3) * u * var
    eps = float(np.float32(1e-5))
    rstd = 1 / np.sqrt(var + eps)
    # sqrt.approx 2^-23 relative, division 2 ulp, the addition of eps one rounding.
    drstd = rstd * (0.5 * dvar / (var + eps) + 2 * u + 4 * u + u)
    normed = centred * rstd
    out = normed * gamma + beta
    dout = np.abs(gamma) * (dcentred * rstd + np.abs(centred) * drstd) + 3 * u * np.abs(normed * gamma) + u * np.abs(out)
    c.expect("out", out, dout + U["f16"] * (np.abs(out) + dout) + 2.0**-25)
    c.expect("mean", mean[:, 0], dmean[:, 0])
    c.expect("rstd", rstd[:, 0], drstd[:, 0])
    return c
