//! The arithmetic part of the instruction table: one line an instruction, with its syntax, the
//! types of its operands and what one lane computes. From it come the opcode enum, the matcher,
//! the listing and the executor.

use super::meaning::{Flags, approximate as approx, convert, float, half, integer as int, round};
use crate::exec::registers::{LANES, Lane, Registers};
use crate::ptx::types::ScalarType;
use half::Format::{BF16, F16};
use int::PrmtMode;

/// One line of the table.
pub(crate) struct AluForm {
    /// What executes it.
    pub(crate) alu: Alu,
    /// Its syntax.
    pub(crate) pattern: &'static str,
    /// Type of the result.
    pub(crate) result: ScalarType,
    /// Types of the operands.
    pub(crate) operands: &'static [ScalarType],
    /// Whether flags are packed after the operands.
    pub(crate) flags: bool,
}

macro_rules! host {
    (u8) => {
        u8
    };
    (u16) => {
        u16
    };
    (u32) => {
        u32
    };
    (u64) => {
        u64
    };
    (s8) => {
        i8
    };
    (s16) => {
        i16
    };
    (s32) => {
        i32
    };
    (s64) => {
        i64
    };
    (b16) => {
        u16
    };
    (b32) => {
        u32
    };
    (b64) => {
        u64
    };
    (f32) => {
        f32
    };
    (f64) => {
        f64
    };
    (pred) => {
        bool
    };
    (f16) => {
        u16
    };
    (f16x2) => {
        u32
    };
}

macro_rules! ptx {
    (u8) => {
        ScalarType::U8
    };
    (u16) => {
        ScalarType::U16
    };
    (u32) => {
        ScalarType::U32
    };
    (u64) => {
        ScalarType::U64
    };
    (s8) => {
        ScalarType::S8
    };
    (s16) => {
        ScalarType::S16
    };
    (s32) => {
        ScalarType::S32
    };
    (s64) => {
        ScalarType::S64
    };
    (b16) => {
        ScalarType::B16
    };
    (b32) => {
        ScalarType::B32
    };
    (b64) => {
        ScalarType::B64
    };
    (f32) => {
        ScalarType::F32
    };
    (f64) => {
        ScalarType::F64
    };
    (pred) => {
        ScalarType::Pred
    };
    (f16) => {
        ScalarType::F16
    };
    (f16x2) => {
        ScalarType::F16x2
    };
}

/// Reads the next operand and counts it.
macro_rules! take {
    ($t:tt, $registers:ident, $r:ident, $n:ident) => {{
        let lanes = <host!($t) as Lane>::read($registers, $r[$n]);
        $n += 1;
        lanes
    }};
}

/// Where a line's code stands: in the executor, of which there is a copy for each set of vector
/// units, or, for the lines that programs seldom have, in a function of its own.
macro_rules! place {
    (($r:ident, $mask:ident, $registers:ident) $code:block) => {
        $code
    };
    (rare ($r:ident, $mask:ident, $registers:ident) $code:block) => {{
        #[inline(never)]
        #[allow(unused_assignments, reason = "the last operand is counted too")]
        fn rare($r: [u16; 5], $mask: u32, $registers: &mut Registers) $code
        rare($r, $mask, $registers);
    }};
}

macro_rules! table {
    ($($(#[$rare:ident])? $name:ident $pattern:literal $result:tt = ($($arg:ident: $t:tt),+ $(; $flags:ident)?) $body:expr;)*) => {
        /// What an arithmetic instruction does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each line of the table says it in PTX")]
        #[repr(u16)]
        pub enum Alu { $($name),* }

        /// The lines of the table.
        pub(crate) const FORMS: &[AluForm] = &[$(AluForm {
            alu: Alu::$name,
            pattern: $pattern,
            result: ptx!($result),
            operands: &[$(ptx!($t)),+],
            flags: false $(|| { stringify!($flags); true })?,
        }),*];

        /// Executes one instruction for the lanes of `mask`: result in `r[0]`, operands after it.
        #[inline(always)]
        #[allow(unused_assignments, reason = "the last operand is counted too")]
        pub(crate) fn execute(alu: Alu, r: [u16; 5], mask: u32, registers: &mut Registers) {
            match alu {
                $(Alu::$name => place!($($rare)? (r, mask, registers) {
                    let mut n = 1;
                    $(let $arg = take!($t, registers, r, n);)+
                    $(let $flags = Flags(r[n]);)?
                    // A loop and not `array::from_fn`: that may stay a function of its own, which
                    // is not compiled for the host's vector units.
                    let mut out = [<host!($result)>::default(); LANES];
                    for i in 0..LANES {
                        $(let $arg = $arg[i];)+
                        out[i] = $body;
                    }
                    <host!($result) as Lane>::write(registers, r[0], mask, out);
                }),)*
            }
        }
    };
}

table! {
    // Integer arithmetic.
    Add16 "add<.u16|.s16>" u16 = (a: u16, b: u16) a.wrapping_add(b);
    Add32 "add<.u32|.s32>" u32 = (a: u32, b: u32) a.wrapping_add(b);
    Add64 "add<.u64|.s64>" u64 = (a: u64, b: u64) a.wrapping_add(b);
    #[rare] AddSat "add.sat.s32" s32 = (a: s32, b: s32) a.saturating_add(b);
    #[rare] Add16x2 "add<.u16x2|.s16x2>" b32 = (a: b32, b: b32) int::both(a, b, u16::wrapping_add);
    Sub16 "sub<.u16|.s16>" u16 = (a: u16, b: u16) a.wrapping_sub(b);
    Sub32 "sub<.u32|.s32>" u32 = (a: u32, b: u32) a.wrapping_sub(b);
    Sub64 "sub<.u64|.s64>" u64 = (a: u64, b: u64) a.wrapping_sub(b);
    #[rare] SubSat "sub.sat.s32" s32 = (a: s32, b: s32) a.saturating_sub(b);
    Mul16 "mul.lo<.u16|.s16>" u16 = (a: u16, b: u16) a.wrapping_mul(b);
    Mul32 "mul.lo<.u32|.s32>" u32 = (a: u32, b: u32) a.wrapping_mul(b);
    Mul64 "mul.lo<.u64|.s64>" u64 = (a: u64, b: u64) a.wrapping_mul(b);
    #[rare] MulHiU16 "mul.hi.u16" u16 = (a: u16, b: u16) (u32::from(a) * u32::from(b) >> 16) as u16;
    #[rare] MulHiS16 "mul.hi.s16" s16 = (a: s16, b: s16) (i32::from(a) * i32::from(b) >> 16) as i16;
    MulHiU32 "mul.hi.u32" u32 = (a: u32, b: u32) (u64::from(a) * u64::from(b) >> 32) as u32;
    MulHiS32 "mul.hi.s32" s32 = (a: s32, b: s32) (i64::from(a) * i64::from(b) >> 32) as i32;
    #[rare] MulHiU64 "mul.hi.u64" u64 = (a: u64, b: u64) (u128::from(a) * u128::from(b) >> 64) as u64;
    #[rare] MulHiS64 "mul.hi.s64" s64 = (a: s64, b: s64) (i128::from(a) * i128::from(b) >> 64) as i64;
    MulWideU16 "mul.wide.u16" u32 = (a: u16, b: u16) u32::from(a) * u32::from(b);
    MulWideS16 "mul.wide.s16" s32 = (a: s16, b: s16) i32::from(a) * i32::from(b);
    MulWideU32 "mul.wide.u32" u64 = (a: u32, b: u32) u64::from(a) * u64::from(b);
    MulWideS32 "mul.wide.s32" s64 = (a: s32, b: s32) i64::from(a) * i64::from(b);
    #[rare] Mul24LoU "mul24.lo.u32" u32 = (a: u32, b: u32) int::product24(a, b, false) as u32;
    #[rare] Mul24LoS "mul24.lo.s32" u32 = (a: u32, b: u32) int::product24(a, b, true) as u32;
    #[rare] Mul24HiU "mul24.hi.u32" u32 = (a: u32, b: u32) (int::product24(a, b, false) >> 16) as u32;
    #[rare] Mul24HiS "mul24.hi.s32" u32 = (a: u32, b: u32) (int::product24(a, b, true) >> 16) as u32;
    #[rare] Mad16 "mad.lo<.u16|.s16>" u16 = (a: u16, b: u16, c: u16) a.wrapping_mul(b).wrapping_add(c);
    Mad32 "mad.lo<.u32|.s32>" u32 = (a: u32, b: u32, c: u32) a.wrapping_mul(b).wrapping_add(c);
    Mad64 "mad.lo<.u64|.s64>" u64 = (a: u64, b: u64, c: u64) a.wrapping_mul(b).wrapping_add(c);
    #[rare] MadHiU16 "mad.hi.u16" u16 = (a: u16, b: u16, c: u16) ((u32::from(a) * u32::from(b) >> 16) as u16).wrapping_add(c);
    #[rare] MadHiS16 "mad.hi.s16" s16 = (a: s16, b: s16, c: s16) ((i32::from(a) * i32::from(b) >> 16) as i16).wrapping_add(c);
    #[rare] MadHiU32 "mad.hi.u32" u32 = (a: u32, b: u32, c: u32) ((u64::from(a) * u64::from(b) >> 32) as u32).wrapping_add(c);
    #[rare] MadHiS32 "mad.hi.s32" s32 = (a: s32, b: s32, c: s32) ((i64::from(a) * i64::from(b) >> 32) as i32).wrapping_add(c);
    #[rare] MadHiSat "mad.hi.sat.s32" s32 = (a: s32, b: s32, c: s32) ((i64::from(a) * i64::from(b) >> 32) as i32).saturating_add(c);
    #[rare] MadHiU64 "mad.hi.u64" u64 = (a: u64, b: u64, c: u64) ((u128::from(a) * u128::from(b) >> 64) as u64).wrapping_add(c);
    #[rare] MadHiS64 "mad.hi.s64" s64 = (a: s64, b: s64, c: s64) ((i128::from(a) * i128::from(b) >> 64) as i64).wrapping_add(c);
    #[rare] MadWideU16 "mad.wide.u16" u32 = (a: u16, b: u16, c: u32) (u32::from(a) * u32::from(b)).wrapping_add(c);
    #[rare] MadWideS16 "mad.wide.s16" s32 = (a: s16, b: s16, c: s32) (i32::from(a) * i32::from(b)).wrapping_add(c);
    MadWideU32 "mad.wide.u32" u64 = (a: u32, b: u32, c: u64) (u64::from(a) * u64::from(b)).wrapping_add(c);
    MadWideS32 "mad.wide.s32" s64 = (a: s32, b: s32, c: s64) (i64::from(a) * i64::from(b)).wrapping_add(c);
    #[rare] Mad24LoU "mad24.lo.u32" u32 = (a: u32, b: u32, c: u32) (int::product24(a, b, false) as u32).wrapping_add(c);
    #[rare] Mad24LoS "mad24.lo.s32" u32 = (a: u32, b: u32, c: u32) (int::product24(a, b, true) as u32).wrapping_add(c);
    #[rare] Mad24HiU "mad24.hi.u32" u32 = (a: u32, b: u32, c: u32) ((int::product24(a, b, false) >> 16) as u32).wrapping_add(c);
    #[rare] Mad24HiS "mad24.hi.s32" u32 = (a: u32, b: u32, c: u32) ((int::product24(a, b, true) >> 16) as u32).wrapping_add(c);
    #[rare] SadU16 "sad.u16" u16 = (a: u16, b: u16, c: u16) a.abs_diff(b).wrapping_add(c);
    #[rare] SadS16 "sad.s16" u16 = (a: s16, b: s16, c: u16) a.abs_diff(b).wrapping_add(c);
    #[rare] SadU32 "sad.u32" u32 = (a: u32, b: u32, c: u32) a.abs_diff(b).wrapping_add(c);
    #[rare] SadS32 "sad.s32" u32 = (a: s32, b: s32, c: u32) a.abs_diff(b).wrapping_add(c);
    #[rare] SadU64 "sad.u64" u64 = (a: u64, b: u64, c: u64) a.abs_diff(b).wrapping_add(c);
    #[rare] SadS64 "sad.s64" u64 = (a: s64, b: s64, c: u64) a.abs_diff(b).wrapping_add(c);
    #[rare] DivU16 "div.u16" u16 = (a: u16, b: u16) int::div_u64(a.into(), b.into()) as u16;
    #[rare] DivS16 "div.s16" s16 = (a: s16, b: s16) int::div_s64(a.into(), b.into()) as i16;
    DivU32 "div.u32" u32 = (a: u32, b: u32) int::div_u64(a.into(), b.into()) as u32;
    #[rare] DivS32 "div.s32" s32 = (a: s32, b: s32) int::div_s64(a.into(), b.into()) as i32;
    #[rare] DivU64 "div.u64" u64 = (a: u64, b: u64) int::div_u64(a, b);
    #[rare] DivS64 "div.s64" s64 = (a: s64, b: s64) int::div_s64(a, b);
    #[rare] RemU16 "rem.u16" u16 = (a: u16, b: u16) int::rem_u64(a.into(), b.into()) as u16;
    #[rare] RemS16 "rem.s16" s16 = (a: s16, b: s16) int::rem_s64(a.into(), b.into()) as i16;
    RemU32 "rem.u32" u32 = (a: u32, b: u32) int::rem_u64(a.into(), b.into()) as u32;
    #[rare] RemS32 "rem.s32" s32 = (a: s32, b: s32) int::rem_s64(a.into(), b.into()) as i32;
    #[rare] RemU64 "rem.u64" u64 = (a: u64, b: u64) int::rem_u64(a, b);
    #[rare] RemS64 "rem.s64" s64 = (a: s64, b: s64) int::rem_s64(a, b);
    #[rare] Abs16 "abs.s16" s16 = (a: s16) a.wrapping_abs();
    Abs32 "abs.s32" s32 = (a: s32) a.wrapping_abs();
    #[rare] Abs64 "abs.s64" s64 = (a: s64) a.wrapping_abs();
    #[rare] Neg16 "neg.s16" s16 = (a: s16) a.wrapping_neg();
    Neg32 "neg.s32" s32 = (a: s32) a.wrapping_neg();
    Neg64 "neg.s64" s64 = (a: s64) a.wrapping_neg();
    #[rare] MinU16 "min.u16" u16 = (a: u16, b: u16) a.min(b);
    #[rare] MinS16 "min.s16" s16 = (a: s16, b: s16) a.min(b);
    MinU32 "min.u32" u32 = (a: u32, b: u32) a.min(b);
    MinS32 "min.s32" s32 = (a: s32, b: s32) a.min(b);
    #[rare] MinReluS32 "min.relu.s32" s32 = (a: s32, b: s32) a.min(b).max(0);
    MinU64 "min.u64" u64 = (a: u64, b: u64) a.min(b);
    MinS64 "min.s64" s64 = (a: s64, b: s64) a.min(b);
    #[rare] MinU16x2 "min.u16x2" b32 = (a: b32, b: b32) int::both(a, b, u16::min);
    #[rare] MinS16x2 "min{.relu}.s16x2" b32 = (a: b32, b: b32; fl) int::both(a, b, |x, y| { let m = (x as i16).min(y as i16); if fl.relu() { m.max(0) as u16 } else { m as u16 } });
    #[rare] MaxU16 "max.u16" u16 = (a: u16, b: u16) a.max(b);
    #[rare] MaxS16 "max.s16" s16 = (a: s16, b: s16) a.max(b);
    MaxU32 "max.u32" u32 = (a: u32, b: u32) a.max(b);
    MaxS32 "max.s32" s32 = (a: s32, b: s32) a.max(b);
    #[rare] MaxReluS32 "max.relu.s32" s32 = (a: s32, b: s32) a.max(b).max(0);
    MaxU64 "max.u64" u64 = (a: u64, b: u64) a.max(b);
    MaxS64 "max.s64" s64 = (a: s64, b: s64) a.max(b);
    #[rare] MaxU16x2 "max.u16x2" b32 = (a: b32, b: b32) int::both(a, b, u16::max);
    #[rare] MaxS16x2 "max{.relu}.s16x2" b32 = (a: b32, b: b32; fl) int::both(a, b, |x, y| { let m = (x as i16).max(y as i16); if fl.relu() { m.max(0) as u16 } else { m as u16 } });
    Dp4aUU "dp4a.u32.u32" u32 = (a: b32, b: b32, c: u32) int::dp4a(a, b, c, false, false);
    Dp4aUS "dp4a.u32.s32" u32 = (a: b32, b: b32, c: u32) int::dp4a(a, b, c, false, true);
    Dp4aSU "dp4a.s32.u32" u32 = (a: b32, b: b32, c: u32) int::dp4a(a, b, c, true, false);
    Dp4aSS "dp4a.s32.s32" u32 = (a: b32, b: b32, c: u32) int::dp4a(a, b, c, true, true);
    // With every byte chosen the merge operand has no part.
    #[rare] Vabsdiff4 "vabsdiff4.u32.u32.u32" u32 = (a: b32, b: b32, c: u32) { let _ = c; int::vabsdiff4(a, b) };
    #[rare] Dp2aLoUU "dp2a.lo.u32.u32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, false, false, false);
    #[rare] Dp2aLoUS "dp2a.lo.u32.s32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, false, true, false);
    #[rare] Dp2aLoSU "dp2a.lo.s32.u32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, true, false, false);
    #[rare] Dp2aLoSS "dp2a.lo.s32.s32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, true, true, false);
    #[rare] Dp2aHiUU "dp2a.hi.u32.u32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, false, false, true);
    #[rare] Dp2aHiUS "dp2a.hi.u32.s32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, false, true, true);
    #[rare] Dp2aHiSU "dp2a.hi.s32.u32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, true, false, true);
    #[rare] Dp2aHiSS "dp2a.hi.s32.s32" u32 = (a: b32, b: b32, c: u32) int::dp2a(a, b, c, true, true, true);

    // Logic, shifts, bit fields.
    And16 "and.b16" b16 = (a: b16, b: b16) a & b;
    And32 "and.b32" b32 = (a: b32, b: b32) a & b;
    And64 "and.b64" b64 = (a: b64, b: b64) a & b;
    Or16 "or.b16" b16 = (a: b16, b: b16) a | b;
    Or32 "or.b32" b32 = (a: b32, b: b32) a | b;
    Or64 "or.b64" b64 = (a: b64, b: b64) a | b;
    Xor16 "xor.b16" b16 = (a: b16, b: b16) a ^ b;
    Xor32 "xor.b32" b32 = (a: b32, b: b32) a ^ b;
    Xor64 "xor.b64" b64 = (a: b64, b: b64) a ^ b;
    Not16 "not.b16" b16 = (a: b16) !a;
    Not32 "not.b32" b32 = (a: b32) !a;
    Not64 "not.b64" b64 = (a: b64) !a;
    #[rare] Cnot16 "cnot.b16" b16 = (a: b16) u16::from(a == 0);
    #[rare] Cnot32 "cnot.b32" b32 = (a: b32) u32::from(a == 0);
    #[rare] Cnot64 "cnot.b64" b64 = (a: b64) u64::from(a == 0);
    Shl16 "shl.b16" b16 = (a: b16, b: u32) if b > 15 { 0 } else { a << b };
    Shl32 "shl.b32" b32 = (a: b32, b: u32) if b > 31 { 0 } else { a << (b & 31) };
    Shl64 "shl.b64" b64 = (a: b64, b: u32) if b > 63 { 0 } else { a << (b & 63) };
    ShrU16 "shr<.u16|.b16>" u16 = (a: u16, b: u32) if b > 15 { 0 } else { a >> b };
    ShrU32 "shr<.u32|.b32>" u32 = (a: u32, b: u32) if b > 31 { 0 } else { a >> (b & 31) };
    ShrU64 "shr<.u64|.b64>" u64 = (a: u64, b: u32) if b > 63 { 0 } else { a >> (b & 63) };
    ShrS16 "shr.s16" s16 = (a: s16, b: u32) a >> b.min(15);
    ShrS32 "shr.s32" s32 = (a: s32, b: u32) a >> b.min(31);
    ShrS64 "shr.s64" s64 = (a: s64, b: u32) a >> b.min(63);
    ShfLWrap "shf.l.wrap.b32" b32 = (a: b32, b: b32, c: u32) ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32;
    ShfRWrap "shf.r.wrap.b32" b32 = (a: b32, b: b32, c: u32) ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32;
    ShfLClamp "shf.l.clamp.b32" b32 = (a: b32, b: b32, c: u32) ((u64::from(b) << 32 | u64::from(a)) << c.min(32) >> 32) as u32;
    ShfRClamp "shf.r.clamp.b32" b32 = (a: b32, b: b32, c: u32) ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32;
    Lop3 "lop3.b32" b32 = (a: b32, b: b32, c: b32; fl) int::lop3(a, b, c, fl.0);
    Prmt "prmt.b32" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, c);
    #[rare] PrmtF4e "prmt.b32.f4e" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::Forward4, c));
    #[rare] PrmtB4e "prmt.b32.b4e" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::Backward4, c));
    #[rare] PrmtRc8 "prmt.b32.rc8" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::Replicate8, c));
    #[rare] PrmtEcl "prmt.b32.ecl" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::ClampLeft, c));
    #[rare] PrmtEcr "prmt.b32.ecr" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::ClampRight, c));
    #[rare] PrmtRc16 "prmt.b32.rc16" b32 = (a: b32, b: b32, c: u32) int::prmt(a, b, int::prmt_selector(PrmtMode::Replicate16, c));
    BfeU32 "bfe.u32" u32 = (a: u32, b: u32, c: u32) int::bfe_unsigned(a.into(), b, c, 32) as u32;
    BfeS32 "bfe.s32" u32 = (a: u32, b: u32, c: u32) int::bfe_signed(a.into(), b, c, 32) as u32;
    #[rare] BfeU64 "bfe.u64" u64 = (a: u64, b: u32, c: u32) int::bfe_unsigned(a, b, c, 64);
    #[rare] BfeS64 "bfe.s64" u64 = (a: u64, b: u32, c: u32) int::bfe_signed(a, b, c, 64);
    Bfi32 "bfi.b32" b32 = (a: b32, b: b32, c: u32, d: u32) int::bfi(a.into(), b.into(), c, d, 32) as u32;
    #[rare] Bfi64 "bfi.b64" b64 = (a: b64, b: b64, c: u32, d: u32) int::bfi(a, b, c, d, 64);
    BfindU32 "bfind.u32" u32 = (a: u32) int::bfind(a.into(), false, 32);
    #[rare] BfindS32 "bfind.s32" u32 = (a: s32) int::bfind(((a ^ (a >> 31)) as u32).into(), false, 32);
    #[rare] BfindU64 "bfind.u64" u32 = (a: u64) int::bfind(a, false, 64);
    #[rare] BfindS64 "bfind.s64" u32 = (a: s64) int::bfind((a ^ (a >> 63)) as u64, false, 64);
    #[rare] BfindAmtU32 "bfind.shiftamt.u32" u32 = (a: u32) int::bfind(a.into(), true, 32);
    #[rare] BfindAmtS32 "bfind.shiftamt.s32" u32 = (a: s32) int::bfind(((a ^ (a >> 31)) as u32).into(), true, 32);
    #[rare] BfindAmtU64 "bfind.shiftamt.u64" u32 = (a: u64) int::bfind(a, true, 64);
    #[rare] BfindAmtS64 "bfind.shiftamt.s64" u32 = (a: s64) int::bfind((a ^ (a >> 63)) as u64, true, 64);
    #[rare] Fns "fns.b32" b32 = (a: b32, b: u32, c: s32) int::fns(a, b, c);
    #[rare] BmskClamp "bmsk.clamp.b32" b32 = (a: u32, b: u32) int::bmsk(a, b, false);
    #[rare] BmskWrap "bmsk.wrap.b32" b32 = (a: u32, b: u32) int::bmsk(a, b, true);
    #[rare] SzextClampU "szext.clamp.u32" u32 = (a: u32, b: u32) int::szext(a, b, false, false);
    #[rare] SzextClampS "szext.clamp.s32" u32 = (a: u32, b: u32) int::szext(a, b, false, true);
    #[rare] SzextWrapU "szext.wrap.u32" u32 = (a: u32, b: u32) int::szext(a, b, true, false);
    #[rare] SzextWrapS "szext.wrap.s32" u32 = (a: u32, b: u32) int::szext(a, b, true, true);
    Popc32 "popc.b32" u32 = (a: b32) a.count_ones();
    #[rare] Popc64 "popc.b64" u32 = (a: b64) a.count_ones();
    Clz32 "clz.b32" u32 = (a: b32) a.leading_zeros();
    #[rare] Clz64 "clz.b64" u32 = (a: b64) a.leading_zeros();
    Brev32 "brev.b32" b32 = (a: b32) a.reverse_bits();
    #[rare] Brev64 "brev.b64" b64 = (a: b64) a.reverse_bits();

    // Selection, by bits: of two places to read from, a compiler chooses lane by lane.
    Selp16 "selp<.b16|.u16|.s16>" b16 = (a: b16, b: b16, p: pred) b ^ (a ^ b) & u16::from(p).wrapping_neg();
    Selp32 "selp<.b32|.u32|.s32|.f32>" b32 = (a: b32, b: b32, p: pred) b ^ (a ^ b) & u32::from(p).wrapping_neg();
    Selp64 "selp<.b64|.u64|.s64|.f64>" b64 = (a: b64, b: b64, p: pred) b ^ (a ^ b) & u64::from(p).wrapping_neg();
    #[rare] Slct16 "slct<.b16|.u16|.s16>.s32" b16 = (a: b16, b: b16, c: s32) if c >= 0 { a } else { b };
    #[rare] Slct32 "slct<.b32|.u32|.s32|.f32>.s32" b32 = (a: b32, b: b32, c: s32) if c >= 0 { a } else { b };
    #[rare] Slct64 "slct<.b64|.u64|.s64|.f64>.s32" b64 = (a: b64, b: b64, c: s32) if c >= 0 { a } else { b };
    #[rare] SlctF16 "slct{.ftz}<.b16|.u16|.s16>.f32" b16 = (a: b16, b: b16, c: f32; fl) if (if fl.ftz() { float::flush(c) } else { c }) >= 0.0 { a } else { b };
    #[rare] SlctF32 "slct{.ftz}<.b32|.u32|.s32|.f32>.f32" b32 = (a: b32, b: b32, c: f32; fl) if (if fl.ftz() { float::flush(c) } else { c }) >= 0.0 { a } else { b };
    #[rare] SlctF64 "slct{.ftz}<.b64|.u64|.s64|.f64>.f32" b64 = (a: b64, b: b64, c: f32; fl) if (if fl.ftz() { float::flush(c) } else { c }) >= 0.0 { a } else { b };

    // f32.
    AddF32 "add{.rn}.f32" f32 = (a: f32, b: f32) float::canon(a + b);
    AddFtzF32 "add{.rn}.ftz.f32" f32 = (a: f32, b: f32) float::canon(float::flush(float::flush(a) + float::flush(b)));
    #[rare] AddAnyF32 "add{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32" f32 = (a: f32, b: f32; fl) float::add(a, b, fl);
    SubF32 "sub{.rn}.f32" f32 = (a: f32, b: f32) float::canon(a - b);
    SubFtzF32 "sub{.rn}.ftz.f32" f32 = (a: f32, b: f32) float::canon(float::flush(float::flush(a) - float::flush(b)));
    #[rare] SubAnyF32 "sub{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32" f32 = (a: f32, b: f32; fl) float::add(a, -b, fl);
    MulF32 "mul{.rn}.f32" f32 = (a: f32, b: f32) float::canon(a * b);
    MulFtzF32 "mul{.rn}.ftz.f32" f32 = (a: f32, b: f32) float::canon(float::flush(float::flush(a) * float::flush(b)));
    #[rare] MulAnyF32 "mul{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32" f32 = (a: f32, b: f32; fl) float::mul(a, b, fl);
    FmaF32 "fma.rn.f32" f32 = (a: f32, b: f32, c: f32) float::canon(a.mul_add(b, c));
    FmaFtzF32 "fma.rn.ftz.f32" f32 = (a: f32, b: f32, c: f32) float::canon(float::flush(float::flush(a).mul_add(float::flush(b), float::flush(c))));
    #[rare] FmaAnyF32 "fma<.rn|.rz|.rm|.rp>{.ftz}{.sat}.f32" f32 = (a: f32, b: f32, c: f32; fl) float::fma(a, b, c, fl);
    #[rare] MadF32 "mad<.rn|.rz|.rm|.rp>{.ftz}{.sat}.f32" f32 = (a: f32, b: f32, c: f32; fl) float::fma(a, b, c, fl);
    DivRnF32 "div<.rn|.full>.f32" f32 = (a: f32, b: f32) float::canon(a / b);
    DivApproxF32 "div.approx{.ftz}.f32" f32 = (a: f32, b: f32; fl) float::binary(a, b, fl, approx::div);
    #[rare] DivAnyF32 "div<.rn|.rz|.rm|.rp|.full>{.ftz}.f32" f32 = (a: f32, b: f32; fl) float::div(a, b, fl);
    RcpF32 "rcp<.rn|.approx>.f32" f32 = (a: f32) float::canon(1.0 / a);
    RcpFtzF32 "rcp<.rn|.approx>.ftz.f32" f32 = (a: f32) float::canon(float::flush(1.0 / float::flush(a)));
    #[rare] RcpAnyF32 "rcp<.rz|.rm|.rp>{.ftz}.f32" f32 = (a: f32; fl) float::div(1.0, a, fl);
    SqrtF32 "sqrt<.rn|.approx>.f32" f32 = (a: f32) float::root(a);
    #[rare] SqrtAnyF32 "sqrt<.rn|.rz|.rm|.rp|.approx>{.ftz}.f32" f32 = (a: f32; fl) float::sqrt(a, fl);
    RsqrtF32 "rsqrt.approx{.ftz}.f32" f32 = (a: f32; fl) float::unary(a, fl, approx::rsqrt);
    #[rare] SinF32 "sin.approx{.ftz}.f32" f32 = (a: f32; fl) float::unary(a, fl, approx::sin);
    #[rare] CosF32 "cos.approx{.ftz}.f32" f32 = (a: f32; fl) float::unary(a, fl, approx::cos);
    Lg2F32 "lg2.approx{.ftz}.f32" f32 = (a: f32; fl) float::unary(a, fl, approx::log2);
    Ex2F32 "ex2.approx.f32" f32 = (a: f32) approx::exp2(a);
    Ex2FtzF32 "ex2.approx.ftz.f32" f32 = (a: f32) float::flush(approx::exp2(a));
    TanhF32 "tanh.approx.f32" f32 = (a: f32) approx::tanh(a);
    AbsF32 "abs{.ftz}.f32" f32 = (a: f32; fl) { let x = if fl.ftz() { float::flush(a) } else { a }; x.abs() };
    NegF32 "neg{.ftz}.f32" f32 = (a: f32; fl) { let x = if fl.ftz() { float::flush(a) } else { a }; -x };
    MinF32 "min{.ftz}{.NaN}.f32" f32 = (a: f32, b: f32; fl) float::extremum(a, b, fl, false);
    #[rare] MinXorsignF32 "min{.ftz}{.NaN}.xorsign.abs.f32" f32 = (a: f32, b: f32; fl) float::extremum(a, b, fl, false);
    MaxF32 "max{.ftz}{.NaN}.f32" f32 = (a: f32, b: f32; fl) float::extremum(a, b, fl, true);
    #[rare] MaxXorsignF32 "max{.ftz}{.NaN}.xorsign.abs.f32" f32 = (a: f32, b: f32; fl) float::extremum(a, b, fl, true);
    #[rare] CopysignF32 "copysign.f32" f32 = (a: f32, b: f32) b.copysign(a);

    // f64.
    AddF64 "add{.rn}.f64" f64 = (a: f64, b: f64) float::canon64(a + b);
    #[rare] AddAnyF64 "add<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64; fl) float::canon64(round::add64(a, b, fl.rounding()));
    SubF64 "sub{.rn}.f64" f64 = (a: f64, b: f64) float::canon64(a - b);
    #[rare] SubAnyF64 "sub<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64; fl) float::canon64(round::add64(a, -b, fl.rounding()));
    MulF64 "mul{.rn}.f64" f64 = (a: f64, b: f64) float::canon64(a * b);
    #[rare] MulAnyF64 "mul<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64; fl) float::canon64(round::mul64(a, b, fl.rounding()));
    FmaRnF64 "fma.rn.f64" f64 = (a: f64, b: f64, c: f64) float::canon64(a.mul_add(b, c));
    #[rare] MadRnF64 "mad.rn.f64" f64 = (a: f64, b: f64, c: f64) float::canon64(a.mul_add(b, c));
    #[rare] MadAnyF64 "mad<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64, c: f64; fl) float::canon64(round::fma64(a, b, c, fl.rounding()));
    #[rare] FmaAnyF64 "fma<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64, c: f64; fl) float::canon64(round::fma64(a, b, c, fl.rounding()));
    #[rare] DivF64 "div.rn.f64" f64 = (a: f64, b: f64) float::canon64(a / b);
    #[rare] DivAnyF64 "div<.rz|.rm|.rp>.f64" f64 = (a: f64, b: f64; fl) float::canon64(round::div64(a, b, fl.rounding()));
    #[rare] RcpF64 "rcp<.rn|.rz|.rm|.rp>.f64" f64 = (a: f64; fl) float::canon64(round::div64(1.0, a, fl.rounding()));
    #[rare] RcpApproxF64 "rcp.approx.ftz.f64" f64 = (a: f64) approx::coarse(a, |x| 1.0 / x);
    #[rare] SqrtF64 "sqrt<.rn|.rz|.rm|.rp>.f64" f64 = (a: f64; fl) float::root64(round::sqrt64(a, fl.rounding()));
    #[rare] RsqrtF64 "rsqrt.approx.f64" f64 = (a: f64) float::canon64(approx::rsqrt64(a));
    #[rare] RsqrtFtzF64 "rsqrt.approx.ftz.f64" f64 = (a: f64) approx::coarse(a, |x| 1.0 / x.sqrt());
    AbsF64 "abs.f64" f64 = (a: f64) a.abs();
    NegF64 "neg.f64" f64 = (a: f64) -a;
    #[rare] MinF64 "min.f64" f64 = (a: f64, b: f64) float::extremum64(a, b, false);
    #[rare] MaxF64 "max.f64" f64 = (a: f64, b: f64) float::extremum64(a, b, true);
    #[rare] CopysignF64 "copysign.f64" f64 = (a: f64, b: f64) b.copysign(a);

    // f16 and bf16.
    #[rare] AddF16 "add{.rn}{.ftz}{.sat}.f16" f16 = (a: f16, b: f16; fl) F16.binary(a, b, fl, |x, y| x + y);
    #[rare] SubF16 "sub{.rn}{.ftz}{.sat}.f16" f16 = (a: f16, b: f16; fl) F16.binary(a, b, fl, |x, y| x - y);
    #[rare] MulF16 "mul{.rn}{.ftz}{.sat}.f16" f16 = (a: f16, b: f16; fl) F16.binary(a, b, fl, |x, y| x * y);
    #[rare] FmaF16 "fma.rn{.ftz}{.sat|.relu}.f16" f16 = (a: f16, b: f16, c: f16; fl) F16.fma(a, b, c, fl);
    #[rare] NegF16 "neg{.ftz}.f16" f16 = (a: f16; fl) F16.flushed(a, fl) ^ 0x8000;
    #[rare] AbsF16 "abs{.ftz}.f16" f16 = (a: f16; fl) F16.flushed(a, fl) & 0x7fff;
    #[rare] MinF16 "min{.ftz}{.NaN}.f16" f16 = (a: f16, b: f16; fl) F16.extremum(a, b, fl, false);
    #[rare] MinXorsignF16 "min{.ftz}{.NaN}.xorsign.abs.f16" f16 = (a: f16, b: f16; fl) F16.extremum(a, b, fl, false);
    #[rare] MaxF16 "max{.ftz}{.NaN}.f16" f16 = (a: f16, b: f16; fl) F16.extremum(a, b, fl, true);
    #[rare] MaxXorsignF16 "max{.ftz}{.NaN}.xorsign.abs.f16" f16 = (a: f16, b: f16; fl) F16.extremum(a, b, fl, true);
    #[rare] Ex2F16 "ex2.approx.f16" f16 = (a: f16; fl) F16.unary(a, fl, approx::exp2);
    #[rare] TanhF16 "tanh.approx.f16" f16 = (a: f16; fl) F16.unary(a, fl, approx::tanh);
    AddF16x2 "add{.rn}{.ftz}{.sat}.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.binary(a, b, fl, |x, y| x + y));
    #[rare] SubF16x2 "sub{.rn}{.ftz}{.sat}.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.binary(a, b, fl, |x, y| x - y));
    MulF16x2 "mul{.rn}{.ftz}{.sat}.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.binary(a, b, fl, |x, y| x * y));
    FmaF16x2 "fma.rn{.ftz}{.sat|.relu}.f16x2" f16x2 = (a: f16x2, b: f16x2, c: f16x2; fl) half::triple(a, b, c, |a, b, c| F16.fma(a, b, c, fl));
    #[rare] NegF16x2 "neg{.ftz}.f16x2" f16x2 = (a: f16x2; fl) half::pair(a, a, |x, _| F16.flushed(x, fl)) ^ 0x8000_8000;
    #[rare] AbsF16x2 "abs{.ftz}.f16x2" f16x2 = (a: f16x2; fl) half::pair(a, a, |x, _| F16.flushed(x, fl)) & 0x7fff_7fff;
    #[rare] MinF16x2 "min{.ftz}{.NaN}.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.extremum(a, b, fl, false));
    #[rare] MinXorsignF16x2 "min{.ftz}{.NaN}.xorsign.abs.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.extremum(a, b, fl, false));
    #[rare] MaxF16x2 "max{.ftz}{.NaN}.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.extremum(a, b, fl, true));
    #[rare] MaxXorsignF16x2 "max{.ftz}{.NaN}.xorsign.abs.f16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| F16.extremum(a, b, fl, true));
    #[rare] Ex2F16x2 "ex2.approx.f16x2" f16x2 = (a: f16x2; fl) half::pair(a, a, |a, _| F16.unary(a, fl, approx::exp2));
    #[rare] TanhF16x2 "tanh.approx.f16x2" f16x2 = (a: f16x2; fl) half::pair(a, a, |a, _| F16.unary(a, fl, approx::tanh));
    #[rare] AddBf16 "add{.rn}.bf16" f16 = (a: f16, b: f16; fl) BF16.binary(a, b, fl, |x, y| x + y);
    #[rare] SubBf16 "sub{.rn}.bf16" f16 = (a: f16, b: f16; fl) BF16.binary(a, b, fl, |x, y| x - y);
    #[rare] MulBf16 "mul{.rn}.bf16" f16 = (a: f16, b: f16; fl) BF16.binary(a, b, fl, |x, y| x * y);
    #[rare] FmaBf16 "fma.rn{.relu}.bf16" f16 = (a: f16, b: f16, c: f16; fl) BF16.fma(a, b, c, fl);
    #[rare] NegBf16 "neg.bf16" f16 = (a: f16) a ^ 0x8000;
    #[rare] AbsBf16 "abs.bf16" f16 = (a: f16) a & 0x7fff;
    #[rare] MinBf16 "min{.NaN}.bf16" f16 = (a: f16, b: f16; fl) BF16.extremum(a, b, fl, false);
    #[rare] MinXorsignBf16 "min{.NaN}.xorsign.abs.bf16" f16 = (a: f16, b: f16; fl) BF16.extremum(a, b, fl, false);
    #[rare] MaxBf16 "max{.NaN}.bf16" f16 = (a: f16, b: f16; fl) BF16.extremum(a, b, fl, true);
    #[rare] MaxXorsignBf16 "max{.NaN}.xorsign.abs.bf16" f16 = (a: f16, b: f16; fl) BF16.extremum(a, b, fl, true);
    #[rare] Ex2Bf16 "ex2.approx.ftz.bf16" f16 = (a: f16) BF16.unary(a, Flags(1), approx::exp2);
    #[rare] TanhBf16 "tanh.approx.bf16" f16 = (a: f16) BF16.unary(a, Flags(0), approx::tanh);
    AddBf16x2 "add{.rn}.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.binary(a, b, fl, |x, y| x + y));
    #[rare] SubBf16x2 "sub{.rn}.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.binary(a, b, fl, |x, y| x - y));
    MulBf16x2 "mul{.rn}.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.binary(a, b, fl, |x, y| x * y));
    FmaBf16x2 "fma.rn{.relu}.bf16x2" f16x2 = (a: f16x2, b: f16x2, c: f16x2; fl) half::triple(a, b, c, |a, b, c| BF16.fma(a, b, c, fl));
    #[rare] NegBf16x2 "neg.bf16x2" f16x2 = (a: f16x2) a ^ 0x8000_8000;
    #[rare] AbsBf16x2 "abs.bf16x2" f16x2 = (a: f16x2) a & 0x7fff_7fff;
    #[rare] MinBf16x2 "min{.NaN}.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.extremum(a, b, fl, false));
    #[rare] MinXorsignBf16x2 "min{.NaN}.xorsign.abs.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.extremum(a, b, fl, false));
    #[rare] MaxBf16x2 "max{.NaN}.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.extremum(a, b, fl, true));
    #[rare] MaxXorsignBf16x2 "max{.NaN}.xorsign.abs.bf16x2" f16x2 = (a: f16x2, b: f16x2; fl) half::pair(a, b, |a, b| BF16.extremum(a, b, fl, true));
    #[rare] Ex2Bf16x2 "ex2.approx.ftz.bf16x2" f16x2 = (a: f16x2) half::pair(a, a, |a, _| BF16.unary(a, Flags(1), approx::exp2));
    #[rare] TanhBf16x2 "tanh.approx.bf16x2" f16x2 = (a: f16x2) half::pair(a, a, |a, _| BF16.unary(a, Flags(0), approx::tanh));

    // Conversions that compilers write often; the others go through `convert`.
    CvtU32U16 "cvt<.u32|.s32>.u16" u32 = (a: u16) a.into();
    CvtS32S16 "cvt<.u32|.s32>.s16" s32 = (a: s16) a.into();
    CvtU64U32 "cvt<.u64|.s64>.u32" u64 = (a: u32) a.into();
    CvtS64S32 "cvt<.u64|.s64>.s32" s64 = (a: s32) a.into();
    CvtU32U64 "cvt<.u32|.s32><.u64|.s64>" u32 = (a: u64) a as u32;
    CvtU16U32 "cvt<.u16|.s16><.u32|.s32>" u16 = (a: u32) a as u16;
    CvtF32S32 "cvt.rn.f32.s32" f32 = (a: s32) a as f32;
    CvtF32U32 "cvt.rn.f32.u32" f32 = (a: u32) a as f32;
    CvtS32F32 "cvt.rzi.s32.f32" s32 = (a: f32) a as i32;
    CvtU32F32 "cvt.rzi.u32.f32" u32 = (a: f32) a as u32;
    CvtF64F32 "cvt.f64.f32" f64 = (a: f32) float::canon64(a.into());
    CvtF32F64 "cvt.rn.f32.f64" f32 = (a: f64) float::canon(a as f32);
    CvtF32F16 "cvt.f32.f16" f32 = (a: f16) float::canon(half::f16_to_f32(a));
    CvtF32Bf16 "cvt.f32.bf16" f32 = (a: f16) float::canon(half::bf16_to_f32(a));
    CvtF16F32 "cvt.rn.f16.f32" f16 = (a: f32) half::f32_to_f16(a);
    CvtBf16F32 "cvt.rn.bf16.f32" f16 = (a: f32) half::f32_to_bf16(a);
    CvtF16x2F32 "cvt.rn.f16x2.f32" f16x2 = (a: f32, b: f32) u32::from(half::f32_to_f16(a)) << 16 | u32::from(half::f32_to_f16(b));
    CvtBf16x2F32 "cvt.rn.bf16x2.f32" f16x2 = (a: f32, b: f32) u32::from(half::f32_to_bf16(a)) << 16 | u32::from(half::f32_to_bf16(b));
    #[rare] CvtRelu16x2F32 "cvt<.rn|.rz>.relu.f16x2.f32" f16x2 = (a: f32, b: f32; fl) convert::packed(a, b, F16, fl);
    #[rare] CvtAny16x2F32 "cvt.rz.f16x2.f32" f16x2 = (a: f32, b: f32; fl) convert::packed(a, b, F16, fl);
    #[rare] CvtReluBf16x2F32 "cvt<.rn|.rz>.relu.bf16x2.f32" f16x2 = (a: f32, b: f32; fl) convert::packed(a, b, BF16, fl);
    #[rare] CvtAnyBf16x2F32 "cvt.rz.bf16x2.f32" f16x2 = (a: f32, b: f32; fl) convert::packed(a, b, BF16, fl);
    #[rare] Tf32Away "cvt.rna{.satfinite}.tf32.f32" b32 = (a: f32; fl) convert::to_tf32(a, fl);
    // ptxas takes the two modifiers in either order.
    #[rare] Tf32Relu "cvt<.rn|.rz>{.satfinite}.relu.tf32.f32" b32 = (a: f32; fl) convert::to_tf32(a, fl);
    #[rare] Tf32 "cvt<.rn|.rz>{.relu}{.satfinite}.tf32.f32" b32 = (a: f32; fl) convert::to_tf32(a, fl);

    // Comparison; `setp` and `set` with their further operands are made of these.
    EqB16 "setp.eq<.b16|.u16|.s16>" pred = (a: b16, b: b16) a == b;
    NeB16 "setp.ne<.b16|.u16|.s16>" pred = (a: b16, b: b16) a != b;
    EqB32 "setp.eq<.b32|.u32|.s32>" pred = (a: b32, b: b32) a == b;
    NeB32 "setp.ne<.b32|.u32|.s32>" pred = (a: b32, b: b32) a != b;
    EqB64 "setp.eq<.b64|.u64|.s64>" pred = (a: b64, b: b64) a == b;
    NeB64 "setp.ne<.b64|.u64|.s64>" pred = (a: b64, b: b64) a != b;
    #[rare] LtU16 "setp<.lt|.lo>.u16" pred = (a: u16, b: u16) a < b;
    #[rare] LeU16 "setp<.le|.ls>.u16" pred = (a: u16, b: u16) a <= b;
    #[rare] GtU16 "setp<.gt|.hi>.u16" pred = (a: u16, b: u16) a > b;
    #[rare] GeU16 "setp<.ge|.hs>.u16" pred = (a: u16, b: u16) a >= b;
    #[rare] LtS16 "setp.lt.s16" pred = (a: s16, b: s16) a < b;
    #[rare] LeS16 "setp.le.s16" pred = (a: s16, b: s16) a <= b;
    #[rare] GtS16 "setp.gt.s16" pred = (a: s16, b: s16) a > b;
    #[rare] GeS16 "setp.ge.s16" pred = (a: s16, b: s16) a >= b;
    LtU32 "setp<.lt|.lo>.u32" pred = (a: u32, b: u32) a < b;
    LeU32 "setp<.le|.ls>.u32" pred = (a: u32, b: u32) a <= b;
    GtU32 "setp<.gt|.hi>.u32" pred = (a: u32, b: u32) a > b;
    GeU32 "setp<.ge|.hs>.u32" pred = (a: u32, b: u32) a >= b;
    LtS32 "setp.lt.s32" pred = (a: s32, b: s32) a < b;
    LeS32 "setp.le.s32" pred = (a: s32, b: s32) a <= b;
    GtS32 "setp.gt.s32" pred = (a: s32, b: s32) a > b;
    GeS32 "setp.ge.s32" pred = (a: s32, b: s32) a >= b;
    LtU64 "setp<.lt|.lo>.u64" pred = (a: u64, b: u64) a < b;
    LeU64 "setp<.le|.ls>.u64" pred = (a: u64, b: u64) a <= b;
    GtU64 "setp<.gt|.hi>.u64" pred = (a: u64, b: u64) a > b;
    GeU64 "setp<.ge|.hs>.u64" pred = (a: u64, b: u64) a >= b;
    LtS64 "setp.lt.s64" pred = (a: s64, b: s64) a < b;
    LeS64 "setp.le.s64" pred = (a: s64, b: s64) a <= b;
    GtS64 "setp.gt.s64" pred = (a: s64, b: s64) a > b;
    GeS64 "setp.ge.s64" pred = (a: s64, b: s64) a >= b;
    LtF32 "setp.lt.f32" pred = (a: f32, b: f32) a < b;
    LeF32 "setp.le.f32" pred = (a: f32, b: f32) a <= b;
    GtF32 "setp.gt.f32" pred = (a: f32, b: f32) a > b;
    GeF32 "setp.ge.f32" pred = (a: f32, b: f32) a >= b;
    EqF32 "setp.eq.f32" pred = (a: f32, b: f32) a == b;
    NeuF32 "setp.neu.f32" pred = (a: f32, b: f32) a != b;
    AnyF32 "setp<.ne|.equ|.ltu|.leu|.gtu|.geu|.num|.nan>.f32" pred = (a: f32, b: f32; fl) float::compare(a.into(), b.into(), fl.0);
    #[rare] FtzF32 "setp<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>.ftz.f32" pred = (a: f32, b: f32; fl) float::compare(float::flush(a).into(), float::flush(b).into(), fl.0);
    #[rare] AnyF64 "setp<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>.f64" pred = (a: f64, b: f64; fl) float::compare(a, b, fl.0);
    #[rare] AnyF16 "setp<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>.f16" pred = (a: f16, b: f16; fl) half::compare(F16, a, b, fl.0);
    #[rare] FtzF16 "setp<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>.ftz.f16" pred = (a: f16, b: f16; fl) half::compare(F16, F16.flushed(a, Flags(1)), F16.flushed(b, Flags(1)), fl.0);
    #[rare] AnyBf16 "setp<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>.bf16" pred = (a: f16, b: f16; fl) half::compare(BF16, a, b, fl.0);
    #[rare] TestpF32 "testp<.finite|.infinite|.number|.notanumber|.normal|.subnormal>.f32" pred = (a: f32; fl) float::testp(a.into(), a.is_subnormal(), fl.0);
    #[rare] TestpF64 "testp<.finite|.infinite|.number|.notanumber|.normal|.subnormal>.f64" pred = (a: f64; fl) float::testp(a, a.is_subnormal(), fl.0);

    // Plain moves; `mov` of symbols and vectors and the predicate logic are elsewhere.
    Mov32 "mov<.b32|.u32|.s32|.f32>" b32 = (a: b32) a;
    Mov64 "mov<.b64|.u64|.s64|.f64>" b64 = (a: b64) a;
}
