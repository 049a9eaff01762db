//! Integer, shift and bit-field operations.

/// Both `bfe` and `bfi` read eight bits of position and length.
fn field(x: u32) -> u32 {
    x & 0xff
}

/// Bits `pos..pos+len` of a value of `width` bits (in the low bits of `a`).
pub(crate) fn bfe_unsigned(a: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (field(pos), field(len));
    if pos >= width || len == 0 {
        return 0;
    }
    let shifted = a >> pos;
    if len >= 64 {
        shifted
    } else {
        shifted & ((1 << len) - 1)
    }
}

/// As [`bfe_unsigned`], the sign extended; beyond the value its own sign is read.
pub(crate) fn bfe_signed(a: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (field(pos), field(len));
    if len == 0 {
        return 0;
    }
    let msb = width - 1;
    let sign = a >> (pos + len - 1).min(msb) & 1;
    let mut out = 0;
    for i in 0..width {
        let bit = if i < len && pos + i <= msb {
            a >> (pos + i) & 1
        } else {
            sign
        };
        out |= bit << i;
    }
    out
}

/// The low `len` bits of `a` placed into `b` at `pos`.
pub(crate) fn bfi(a: u64, b: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (field(pos), field(len));
    if pos >= width || len == 0 {
        return b;
    }
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    let mask = ones << pos;
    b & !mask | (a << pos) & mask
}

/// `bfind`: the position of the highest bit that differs from the sign; none is −1.
pub(crate) fn bfind(a: u64, shift_amount: bool, width: u32) -> u32 {
    if a == 0 {
        return u32::MAX;
    }
    let position = 63 - a.leading_zeros();
    if shift_amount {
        width - 1 - position
    } else {
        position
    }
}

/// `fns`: the position of the n-th set bit counted from `base`, upwards or downwards.
pub(crate) fn fns(mask: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    if offset == 0 {
        return if mask >> base & 1 != 0 {
            base
        } else {
            u32::MAX
        };
    }
    let step = offset.signum();
    let mut left = offset.abs();
    let mut position = base as i32;
    while (0..32).contains(&position) {
        if mask >> position & 1 != 0 {
            left -= 1;
            if left == 0 {
                return position as u32;
            }
        }
        position += step;
    }
    u32::MAX
}

/// `bmsk`: `len` ones from `pos`; clamped, or wrapped to five bits each.
pub(crate) fn bmsk(pos: u32, len: u32, wrap: bool) -> u32 {
    let (pos, len) = if wrap {
        (pos & 31, len & 31)
    } else {
        (pos.min(32), len.min(32))
    };
    let ones = (1u64 << len) - 1;
    (ones << pos) as u32
}

/// `szext`: the low `bits` bits with zero or sign extension.
pub(crate) fn szext(a: u32, bits: u32, wrap: bool, signed: bool) -> u32 {
    let bits = if wrap { bits & 31 } else { bits.min(32) };
    if bits == 0 {
        return 0;
    }
    let up = 32 - bits;
    if signed {
        ((a << up) as i32 >> up) as u32
    } else {
        a << up >> up
    }
}

/// `prmt` in its general form: each selector nibble picks a byte or its replicated sign.
#[inline(always)]
pub(crate) fn prmt(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut out = 0;
    for i in 0..4 {
        let nibble = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (nibble & 7))) as u8;
        let sign = (byte as i8 >> 7) as u8;
        out |= u32::from(if nibble & 8 != 0 { sign } else { byte }) << (8 * i);
    }
    out
}

/// The general selector that does what a special mode of `prmt` does with control `c`.
pub(crate) fn prmt_selector(mode: PrmtMode, c: u32) -> u32 {
    let table: [u32; 4] = match mode {
        PrmtMode::Forward4 => [0x3210, 0x4321, 0x5432, 0x6543],
        PrmtMode::Backward4 => [0x5670, 0x6701, 0x7012, 0x0123],
        PrmtMode::Replicate8 => [0x0000, 0x1111, 0x2222, 0x3333],
        PrmtMode::ClampLeft => [0x3210, 0x3211, 0x3222, 0x3333],
        PrmtMode::ClampRight => [0x0000, 0x1110, 0x2210, 0x3210],
        PrmtMode::Replicate16 => [0x1010, 0x3232, 0x1010, 0x3232],
    };
    table[(c & 3) as usize]
}

/// Special modes of `prmt`.
#[derive(Clone, Copy)]
pub(crate) enum PrmtMode {
    /// `.f4e`
    Forward4,
    /// `.b4e`
    Backward4,
    /// `.rc8`
    Replicate8,
    /// `.ecl`
    ClampLeft,
    /// `.ecr`
    ClampRight,
    /// `.rc16`
    Replicate16,
}

/// `lop3`: any function of three bits, given by its truth table.
#[inline(always)]
pub(crate) fn lop3(a: u32, b: u32, c: u32, table: u16) -> u32 {
    let mut out = 0;
    for i in 0..8u32 {
        let pick = 0u32.wrapping_sub(u32::from(table >> i) & 1);
        let x = if i & 4 != 0 { a } else { !a };
        let y = if i & 2 != 0 { b } else { !b };
        let z = if i & 1 != 0 { c } else { !c };
        out |= pick & x & y & z;
    }
    out
}

/// `dp4a`: four byte products added to `c`; each side signed or not.
#[inline(always)]
pub(crate) fn dp4a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let byte = |x: u32, i: u32, signed: bool| {
        let v = (x >> (8 * i)) as u8;
        if signed {
            i32::from(v as i8)
        } else {
            i32::from(v)
        }
    };
    (0..4).fold(c, |s, i| {
        s.wrapping_add((byte(a, i, a_signed) * byte(b, i, b_signed)) as u32)
    })
}

/// `dp2a`: two products of halves of `a` with bytes of `b` (the low or the high pair).
pub(crate) fn dp2a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool, high: bool) -> u32 {
    let half = |i: u32| {
        let v = (a >> (16 * i)) as u16;
        if a_signed {
            i32::from(v as i16)
        } else {
            i32::from(v)
        }
    };
    let byte = |i: u32| {
        let v = (b >> (8 * (i + 2 * u32::from(high)))) as u8;
        if b_signed {
            i32::from(v as i8)
        } else {
            i32::from(v)
        }
    };
    (0..2).fold(c, |s, i| s.wrapping_add((half(i) * byte(i)) as u32))
}

/// `mul24`/`mad24`: the 48-bit product of 24-bit operands.
pub(crate) fn product24(a: u32, b: u32, signed: bool) -> u64 {
    if signed {
        let extend = |x: u32| i64::from((x << 8) as i32 >> 8);
        (extend(a) * extend(b)) as u64
    } else {
        u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)
    }
}

/// Applies a 16-bit operation to both halves.
#[inline(always)]
pub(crate) fn both(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    let low = f(a as u16, b as u16);
    let high = f((a >> 16) as u16, (b >> 16) as u16);
    u32::from(high) << 16 | u32::from(low)
}

/// Division as the hardware leaves it when the divisor is zero: all ones.
pub(crate) fn div_u64(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(u64::MAX)
}

/// Signed division; the one overflow wraps.
pub(crate) fn div_s64(a: i64, b: i64) -> i64 {
    if b == 0 { -1 } else { a.wrapping_div(b) }
}

/// Remainder; by zero it is the dividend.
pub(crate) fn rem_u64(a: u64, b: u64) -> u64 {
    a.checked_rem(b).unwrap_or(a)
}

/// Signed remainder.
pub(crate) fn rem_s64(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { a.wrapping_rem(b) }
}
