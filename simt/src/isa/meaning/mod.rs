//! What instructions compute, one lane at a time, as plain functions of plain values.

pub(crate) mod approximate;
pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod round;

use crate::ptx::ast::Instruction;

/// Modifiers that change what an instruction computes, packed beside its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u16);

/// A rounding mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Towards zero.
    Zero,
    /// Towards minus infinity.
    Down,
    /// Towards plus infinity.
    Up,
    /// To nearest, ties away from zero.
    NearestAway,
}

impl Flags {
    const FTZ: u16 = 1;
    const SAT: u16 = 2;
    const RELU: u16 = 4;
    const NAN: u16 = 8;
    const XORSIGN: u16 = 16;
    const ROUND_SHIFT: u32 = 8;

    /// The flags an instruction's modifiers set.
    pub(crate) fn of(instruction: &Instruction) -> Self {
        let bits = instruction.modifiers.iter().map(|m| match m.text.as_str() {
            ".ftz" => Self::FTZ,
            ".sat" | ".satfinite" => Self::SAT,
            ".relu" => Self::RELU,
            ".NaN" => Self::NAN,
            ".xorsign" => Self::XORSIGN,
            ".rz" | ".rzi" => 1 << Self::ROUND_SHIFT,
            ".rm" | ".rmi" => 2 << Self::ROUND_SHIFT,
            ".rp" | ".rpi" => 3 << Self::ROUND_SHIFT,
            ".rna" => 4 << Self::ROUND_SHIFT,
            _ => 0,
        });
        Self(bits.fold(0, |a, b| a | b))
    }

    /// Subnormals count as zero.
    pub(crate) fn ftz(self) -> bool {
        self.0 & Self::FTZ != 0
    }

    /// The result is clamped.
    pub(crate) fn sat(self) -> bool {
        self.0 & Self::SAT != 0
    }

    /// Negative results and NaN become zero.
    pub(crate) fn relu(self) -> bool {
        self.0 & Self::RELU != 0
    }

    /// A NaN operand makes the result NaN.
    pub(crate) fn nan(self) -> bool {
        self.0 & Self::NAN != 0
    }

    /// The result takes the exclusive or of the operands' signs.
    pub(crate) fn xorsign(self) -> bool {
        self.0 & Self::XORSIGN != 0
    }

    /// The rounding mode.
    pub(crate) fn rounding(self) -> Rounding {
        match self.0 >> Self::ROUND_SHIFT {
            0 => Rounding::Nearest,
            1 => Rounding::Zero,
            2 => Rounding::Down,
            3 => Rounding::Up,
            _ => Rounding::NearestAway,
        }
    }
}
