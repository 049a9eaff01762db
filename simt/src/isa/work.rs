//! What an instruction costs: its class, and the floating-point operations of one lane.

use crate::ptx::ast::Instruction;
use crate::ptx::types::{ScalarType, TypeKind};

/// The classes in which instructions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Part of an instruction that is counted elsewhere.
    None,
    /// Integer arithmetic, logic, comparison, moves.
    Integer,
    /// f16 and bf16 arithmetic.
    Half,
    /// f32 arithmetic.
    Single,
    /// f64 arithmetic.
    Double,
    /// Approximate functions.
    Special,
    /// Conversions.
    Convert,
    /// Loads, stores and asynchronous copies.
    Memory,
    /// Atomics.
    Atomic,
    /// Matrix instructions.
    Matrix,
    /// Branches, calls, exits.
    Control,
    /// Barriers, votes, shuffles, fences.
    Synchronise,
    /// The rest.
    #[default]
    Other,
}

/// What does floating-point operations: units with a peak rate of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// None: the instruction does no floating-point operation.
    #[default]
    None,
    /// f16 and bf16 outside the tensor cores.
    Half,
    /// f32.
    Single,
    /// f64.
    Double,
    /// Tensor cores, f16 and bf16.
    TensorHalf,
    /// Tensor cores, tf32.
    TensorTf32,
    /// Tensor cores, f64.
    TensorDouble,
    /// Tensor cores, 8-bit floats.
    TensorByteFloat,
    /// Tensor cores, 8-bit integers and narrower.
    TensorInteger,
}

/// What one PTX instruction costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Class, for counters.
    pub class: Class,
    /// Floating-point operations of one lane; integer ones for [`Unit::TensorInteger`].
    pub flops: u32,
    /// What does them.
    pub unit: Unit,
}

impl Work {
    /// Part of an instruction that is counted elsewhere.
    pub const NONE: Work = Work {
        class: Class::None,
        flops: 0,
        unit: Unit::None,
    };

    /// The work of an instruction.
    pub(crate) fn of(i: &Instruction) -> Self {
        let opcode = i.opcode.text.as_str();
        let modifiers = || i.modifiers.iter().map(|m| &m.text[1..]);
        let ty = modifiers().rev().find_map(ScalarType::from_name);
        let float = ty.filter(|t| t.kind() == TypeKind::Float);
        let mut class = class(opcode, float);
        if opcode == "wmma" && !modifiers().any(|m| m == "mma") {
            class = Class::Memory;
        }
        if class == Class::Matrix {
            let types: Vec<ScalarType> = modifiers().filter_map(ScalarType::from_name).collect();
            let shape = modifiers().find_map(shape);
            let (flops, unit) = shape.map_or((0, Unit::None), |s| matrix(opcode, s, &types));
            return Work { class, flops, unit };
        }
        let elements = 1 + u32::from(matches!(
            float,
            Some(ScalarType::F16x2 | ScalarType::BF16x2)
        ));
        let flops = match (opcode, float) {
            ("fma" | "mad", Some(_)) => 2 * elements,
            ("add" | "sub" | "mul" | "div" | "min" | "max", Some(_)) => elements,
            _ if is_special(opcode) => elements,
            _ => 0,
        };
        let unit = match float {
            _ if flops == 0 => Unit::None,
            Some(ScalarType::F32) => Unit::Single,
            Some(ScalarType::F64) => Unit::Double,
            _ => Unit::Half,
        };
        // Atomics add too, but in the memory system.
        if class == Class::Atomic {
            return Work {
                class,
                ..Work::NONE
            };
        }
        Work { class, flops, unit }
    }
}

fn is_special(opcode: &str) -> bool {
    matches!(
        opcode,
        "ex2" | "lg2" | "rcp" | "rsqrt" | "sqrt" | "sin" | "cos" | "tanh"
    )
}

fn class(opcode: &str, float: Option<ScalarType>) -> Class {
    match opcode {
        "ld" | "ldu" | "st" | "ldmatrix" | "stmatrix" | "cp" | "prefetch" => Class::Memory,
        "atom" | "red" => Class::Atomic,
        "mma" | "wmma" | "wgmma" => Class::Matrix,
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" => Class::Control,
        "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "elect" | "membar" | "fence"
        | "mbarrier" | "activemask" => Class::Synchronise,
        "cvt" => Class::Convert,
        "mov" | "selp" | "setp" | "set" => Class::Integer,
        _ if is_special(opcode) => Class::Special,
        _ => match float {
            Some(ScalarType::F32) => Class::Single,
            Some(ScalarType::F64) => Class::Double,
            Some(_) => Class::Half,
            None => Class::Integer,
        },
    }
}

/// `m16n8k16` as numbers.
fn shape(modifier: &str) -> Option<[u32; 3]> {
    let (m, rest) = modifier.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k').unwrap_or((rest, "0"));
    Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
}

/// Multiplications and additions of one lane. `mma` and `wmma` are done by the 32 lanes of a
/// warp, `wgmma` by the 128 of a warpgroup. `mma.m8n8k4` on f16 is four products, one for each
/// quarter of the warp (PTX manual, "Matrix Fragments for mma.m8n8k4").
fn matrix(opcode: &str, [m, n, k]: [u32; 3], types: &[ScalarType]) -> (u32, Unit) {
    use ScalarType as T;
    // `mma` names the types d, a, b, c and `wgmma` d, a, b; `wmma` may name d and c only.
    let input = types.get(1).or(types.first()).copied().unwrap_or(T::F16);
    let unit = match input {
        T::F64 => Unit::TensorDouble,
        T::TF32 => Unit::TensorTf32,
        T::E4M3 | T::E5M2 => Unit::TensorByteFloat,
        T::S8 | T::U8 | T::S4 | T::U4 | T::B1 => Unit::TensorInteger,
        _ => Unit::TensorHalf,
    };
    let quarters = [m, n, k] == [8, 8, 4] && unit == Unit::TensorHalf;
    let lanes = if opcode == "wgmma" { 128 } else { 32 };
    let all = 2 * m * n * k * if quarters { 4 } else { 1 };
    let loads = k == 0;
    (if loads { 0 } else { all / lanes }, unit)
}

#[cfg(test)]
mod tests {
    use super::{ScalarType as T, Unit, matrix, shape};

    #[test]
    fn matrix_work_is_twice_the_volume_over_the_lanes() {
        let of = |opcode, name, types: &[T]| matrix(opcode, shape(name).expect("a shape"), types);
        let half = [T::F32, T::F16, T::F16, T::F32];
        assert_eq!(of("mma", "m16n8k16", &half), (4096 / 32, Unit::TensorHalf));
        assert_eq!(of("mma", "m8n8k4", &half), (4 * 512 / 32, Unit::TensorHalf));
        assert_eq!(
            of("mma", "m8n8k4", &[T::F64; 4]),
            (512 / 32, Unit::TensorDouble)
        );
        let wide = [T::F32, T::BF16, T::BF16];
        assert_eq!(of("wgmma", "m64n256k16", &wide), (4096, Unit::TensorHalf));
        let bits = [T::S32, T::B1, T::B1];
        let most = of("wgmma", "m64n256k256", &bits);
        assert_eq!(most, (1 << 16, Unit::TensorInteger));
    }
}
