"""Exact arithmetic on floating-point bit patterns.

Values are decoded to `Fraction`, operated on without error and rounded once, so
nothing here depends on the host's floating point.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt


@dataclass(frozen=True)
class Format:
    """A binary format: `width` bits, of which `mant` stored significand bits."""

    name: str
    width: int
    exp: int
    mant: int
    # Without infinities (e4m3) the all-ones exponent holds numbers too.
    inf: bool = True

    @property
    def bias(self):
        return (1 << (self.exp - 1)) - 1

    @property
    def emin(self):
        return 1 - self.bias

    @property
    def sign_bit(self):
        return 1 << (self.width - 1)

    @property
    def inf_bits(self):
        return ((1 << self.exp) - 1) << self.mant

    @property
    def max_bits(self):
        """The largest finite magnitude."""
        return self.inf_bits - 1 if self.inf else self.inf_bits | ((1 << self.mant) - 2)

    @property
    def canonical_nan(self):
        return self.sign_bit - 1

    @property
    def min_normal(self):
        return 1 << self.mant

    @property
    def one(self):
        return self.bias << self.mant


F64 = Format("f64", 64, 11, 52)
F32 = Format("f32", 32, 8, 23)
F16 = Format("f16", 16, 5, 10)
BF16 = Format("bf16", 16, 8, 7)
E4M3 = Format("e4m3", 8, 4, 3, inf=False)
E5M2 = Format("e5m2", 8, 5, 2)
FORMATS = {f.name: f for f in (F64, F32, F16, BF16, E4M3, E5M2)}


def magnitude(f, bits):
    return bits & (f.sign_bit - 1)


def negative(f, bits):
    return bool(bits & f.sign_bit)


def is_nan(f, bits):
    m = magnitude(f, bits)
    return m > f.inf_bits if f.inf else m == f.canonical_nan


def is_inf(f, bits):
    return f.inf and magnitude(f, bits) == f.inf_bits


def is_zero(f, bits):
    return magnitude(f, bits) == 0


def is_subnormal(f, bits):
    return 0 < magnitude(f, bits) < f.min_normal


def value(f, bits):
    """The exact value of a finite pattern."""
    m = magnitude(f, bits)
    e, frac = m >> f.mant, m & ((1 << f.mant) - 1)
    if e == 0:
        mag = Fraction(frac) * Fraction(2) ** (f.emin - f.mant)
    else:
        mag = Fraction(frac | (1 << f.mant)) * Fraction(2) ** (e - f.bias - f.mant)
    return -mag if negative(f, bits) else mag


def flush(f, bits):
    """Subnormals become zero of the same sign."""
    return bits & f.sign_bit if is_subnormal(f, bits) else bits


def exponent(mag):
    """floor(log2(mag)) for a positive Fraction."""
    e = mag.numerator.bit_length() - mag.denominator.bit_length()
    return e if Fraction(2) ** e <= mag else e - 1


def ulp(f, x):
    """The spacing of `f` in the binade of the non-zero value `x`."""
    return Fraction(2) ** (max(exponent(abs(x)), f.emin) - f.mant)


def integer_part(x, mode):
    """Round a Fraction to an integer: n(earest even), a(way on ties), z, m, p."""
    floor = x.numerator // x.denominator
    rest = x - floor
    if rest == 0:
        return floor
    if mode == "m":
        return floor
    if mode == "p":
        return floor + 1
    if mode == "z":
        return floor if x > 0 else floor + 1
    half = Fraction(1, 2)
    if rest != half:
        return floor + (rest > half)
    if mode == "a":
        return floor + 1 if x > 0 else floor
    return floor + (floor & 1)


def encode(f, x, mode="n", sign=None):
    """Round the exact value `x` into `f`; `sign` decides the sign of zero."""
    if x == 0:
        return f.sign_bit if sign else 0
    neg = x < 0
    unit = ulp(f, x)
    n = abs(integer_part(x / unit, mode))
    # A carry out of the significand is right by itself: patterns are ordered.
    e = exponent(unit) + f.mant
    base = 0 if e == f.emin and n < (1 << f.mant) else (e + f.bias) << f.mant
    bits = n if base == 0 else base + n - (1 << f.mant)
    if bits > f.max_bits:
        to_inf = mode in "na" or mode == ("m" if neg else "p")
        top = f.inf_bits if f.inf else f.canonical_nan
        bits = top if to_inf else f.max_bits
    return bits | (f.sign_bit if neg else 0)


NAN = "nan"


def fma(f, a, b, c, mode="n"):
    """a·b + c rounded once; NaN results are returned as `NAN`."""
    if any(is_nan(f, x) for x in (a, b, c)):
        return NAN
    psign = negative(f, a) ^ negative(f, b)
    if is_inf(f, a) or is_inf(f, b):
        if is_zero(f, a) or is_zero(f, b):
            return NAN
        if is_inf(f, c) and negative(f, c) != psign:
            return NAN
        return f.inf_bits | (f.sign_bit if psign else 0)
    if is_inf(f, c):
        return c
    exact = value(f, a) * value(f, b) + value(f, c)
    if exact == 0:
        product_zero = is_zero(f, a) or is_zero(f, b)
        if product_zero and is_zero(f, c) and psign == negative(f, c):
            return f.sign_bit if psign else 0
        return f.sign_bit if mode == "m" else 0
    return encode(f, exact, mode)


def add(f, a, b, mode="n"):
    return fma(f, a, f.one, b, mode)


def sub(f, a, b, mode="n"):
    return NAN if is_nan(f, b) else add(f, a, b ^ f.sign_bit, mode)


def mul(f, a, b, mode="n"):
    if is_nan(f, a) or is_nan(f, b):
        return NAN
    sign = negative(f, a) ^ negative(f, b)
    if is_inf(f, a) or is_inf(f, b):
        if is_zero(f, a) or is_zero(f, b):
            return NAN
        return f.inf_bits | (f.sign_bit if sign else 0)
    return encode(f, value(f, a) * value(f, b), mode, sign)


def div(f, a, b, mode="n"):
    if is_nan(f, a) or is_nan(f, b):
        return NAN
    sign = f.sign_bit if negative(f, a) ^ negative(f, b) else 0
    if is_inf(f, a):
        return NAN if is_inf(f, b) else f.inf_bits | sign
    if is_inf(f, b):
        return sign
    if is_zero(f, b):
        return NAN if is_zero(f, a) else f.inf_bits | sign
    return encode(f, value(f, a) / value(f, b), mode, bool(sign))


def sqrt_bracket(x, bits=160):
    """A Fraction that rounds like √x in any format of fewer than `bits` bits."""
    shift = 2 * bits
    scaled = (x.numerator << (2 * shift)) // x.denominator
    root = isqrt(scaled)
    inexact = root * root != scaled or (x.numerator << (2 * shift)) % x.denominator
    return Fraction(2 * root + bool(inexact), 2 << shift)


def sqrt(f, a, mode="n"):
    if is_nan(f, a):
        return NAN
    if is_zero(f, a):
        return a
    if negative(f, a):
        return NAN
    if is_inf(f, a):
        return a
    # Scale by an even power of two so that subnormals keep their digits.
    k = exponent(value(f, a)) // 2
    return encode(f, sqrt_bracket(value(f, a) / Fraction(4) ** k) * Fraction(2) ** k, mode)


def saturate(f, bits):
    """`.sat`: clamp to [0, 1]; NaN becomes +0."""
    if bits == NAN or is_zero(f, bits) or negative(f, bits):
        return 0
    return min(bits, f.one)


def min_max(f, a, b, largest, nan=False, xorsign=False):
    """PTX `min`/`max`; `.NaN` gives the canonical NaN, else NaN loses to a number."""
    sign = (a ^ b) & f.sign_bit
    if xorsign:
        a, b = magnitude(f, a), magnitude(f, b)
    if is_nan(f, a) or is_nan(f, b):
        if nan:
            return f.canonical_nan
        if is_nan(f, a) and is_nan(f, b):
            return NAN
        r = b if is_nan(f, a) else a
    else:
        # As integers with the sign folded in: −0 orders below +0.
        def key(x):
            return -magnitude(f, x) - 1 if negative(f, x) else magnitude(f, x)

        r = (max if largest else min)(a, b, key=key)
    return magnitude(f, r) | sign if xorsign else r


def convert(src, dst, bits, mode="n"):
    """Float to float; NaN stays NaN (payload not specified)."""
    if is_nan(src, bits):
        return NAN
    sign = negative(src, bits)
    if is_inf(src, bits):
        top = dst.inf_bits if dst.inf else dst.canonical_nan
        return top | (dst.sign_bit if sign else 0)
    return encode(dst, value(src, bits), mode, sign)
