"""Gradients of LayerNorm and RMSNorm in three kernels.

    rows:     c1 = mean(g), c2 = mean(g·x̂) of a row, then dx = rstd·(g − c1 − x̂·c2)
    columns:  partial sums of dy·x̂ and dy over a group of rows, for a block of columns
    total:    the groups' partial sums, added
"""
import triton
import triton.language as tl


@triton.jit
def rows(x, dy, gamma, mean, rstd, residual, dx, width, has_gamma, has_mean, has_residual, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    m = tl.load(mean + row, mask=has_mean != 0, other=0.0)
    r = tl.load(rstd + row)
    lanes = tl.arange(0, BLOCK)
    c1 = tl.zeros((BLOCK,), tl.float32)
    c2 = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + lanes
        inside = at < width
        hat = (tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32) - m) * r
        g = tl.load(dy + row * width + at, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(gamma + at, mask=inside & (has_gamma != 0), other=1.0).to(tl.float32)
        # Beyond the row g is 0, so that x̂ there, which is not, does not count.
        c1 += g
        c2 += g * hat
    s1 = tl.div_rn(tl.sum(c1, 0), width.to(tl.float32))
    s1 = tl.where(has_mean != 0, s1, 0.0)
    s2 = tl.div_rn(tl.sum(c2, 0), width.to(tl.float32))
    for start in range(0, width, BLOCK):
        at = start + lanes
        inside = at < width
        hat = (tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32) - m) * r
        g = tl.load(dy + row * width + at, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(gamma + at, mask=inside & (has_gamma != 0), other=1.0).to(tl.float32)
        d = r * (g - s1 - hat * s2)
        d += tl.load(residual + row * width + at, mask=inside & (has_residual != 0), other=0.0).to(tl.float32)
        tl.store(dx + row * width + at, d.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def columns(x, dy, mean, rstd, scale, shift, count, width, group, has_mean, ROWS: tl.constexpr, COLS: tl.constexpr):
    d = tl.program_id(0) * COLS + tl.arange(0, COLS)
    first = tl.program_id(1).to(tl.int64) * group
    inside_d = d < width
    sums = tl.zeros((ROWS, COLS), tl.float32)
    plain = tl.zeros((ROWS, COLS), tl.float32)
    for start in range(0, group, ROWS):
        own = start + tl.arange(0, ROWS)
        row = first + own
        inside_r = (own < group) & (row < count)
        inside = inside_r[:, None] & inside_d[None, :]
        m = tl.load(mean + row, mask=inside_r & (has_mean != 0), other=0.0)
        r = tl.load(rstd + row, mask=inside_r, other=0.0)
        at = row[:, None] * width + d[None, :]
        hat = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - m[:, None]) * r[:, None]
        g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
        sums += g * hat
        plain += g
    at = tl.program_id(1).to(tl.int64) * width + d
    tl.store(scale + at, tl.sum(sums, 0), mask=inside_d)
    tl.store(shift + at, tl.sum(plain, 0), mask=inside_d)


@triton.jit
def total(scale, shift, dgamma, dbeta, groups, width, has_dbeta, ROWS: tl.constexpr, COLS: tl.constexpr):
    d = tl.program_id(0) * COLS + tl.arange(0, COLS)
    sums = tl.zeros((ROWS, COLS), tl.float32)
    plain = tl.zeros((ROWS, COLS), tl.float32)
    for start in range(0, groups, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < groups)[:, None] & (d < width)[None, :]
        at = row[:, None].to(tl.int64) * width + d[None, :]
        sums += tl.load(scale + at, mask=inside, other=0.0)
        plain += tl.load(shift + at, mask=inside, other=0.0)
    tl.store(dgamma + d, tl.sum(sums, 0), mask=d < width)
    tl.store(dbeta + d, tl.sum(plain, 0), mask=(d < width) & (has_dbeta != 0))


def of(dtype):
    t = f"*{dtype}"
    floats = {"mean": "*fp32", "rstd": "*fp32"}
    return (
        {"x": t, "dy": t, "gamma": t, **floats, "residual": t, "dx": t, "width": "i32", "has_gamma": "i32",
         "has_mean": "i32", "has_residual": "i32"},
        {"x": t, "dy": t, **floats, "scale": "*fp32", "shift": "*fp32", "count": "i32", "width": "i32", "group": "i32",
         "has_mean": "i32"},
    )  # fmt: skip


TOTAL = {"scale": "*fp32", "shift": "*fp32", "dgamma": "*fp32", "dbeta": "*fp32", "groups": "i32", "width": "i32",
         "has_dbeta": "i32"}  # fmt: skip

KERNELS = [("layernorm_total", total, TOTAL, {"ROWS": 16, "COLS": 32}, {"num_warps": 4})]
for short, dtype in [("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16")]:
    of_rows, of_columns = of(dtype)
    KERNELS += [
        (f"layernorm_rows.{short}", rows, of_rows, {"BLOCK": 256}, {"num_warps": 4}),
        (f"layernorm_columns.{short}", columns, of_columns, {"ROWS": 16, "COLS": 32}, {"num_warps": 4}),
    ]
