//! The fundamental types and state spaces of PTX.

use std::fmt;

macro_rules! scalar_types {
    ($($variant:ident $name:literal $bits:literal $kind:ident;)*) => {
        /// A PTX scalar type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the variants are PTX's own type names")]
        pub enum ScalarType { $($variant),* }

        impl ScalarType {
            /// Every type, in the order of the PTX manual.
            pub const ALL: &[ScalarType] = &[$(ScalarType::$variant),*];

            /// The type named by a modifier, without its dot.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// The name without its dot.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Width in bits; a predicate has one.
            #[inline]
            pub fn bits(self) -> u32 {
                match self { $(Self::$variant => $bits),* }
            }

            /// What the bits mean.
            pub fn kind(self) -> TypeKind {
                match self { $(Self::$variant => TypeKind::$kind),* }
            }
        }
    };
}

scalar_types! {
    S8 "s8" 8 Signed; S16 "s16" 16 Signed; S32 "s32" 32 Signed; S64 "s64" 64 Signed;
    U8 "u8" 8 Unsigned; U16 "u16" 16 Unsigned; U32 "u32" 32 Unsigned; U64 "u64" 64 Unsigned;
    B8 "b8" 8 Bits; B16 "b16" 16 Bits; B32 "b32" 32 Bits; B64 "b64" 64 Bits; B128 "b128" 128 Bits;
    F16 "f16" 16 Float; F16x2 "f16x2" 32 Float; BF16 "bf16" 16 Float; BF16x2 "bf16x2" 32 Float;
    TF32 "tf32" 32 Float; E4M3 "e4m3" 8 Float; E5M2 "e5m2" 8 Float;
    E4M3x2 "e4m3x2" 16 Float; E5M2x2 "e5m2x2" 16 Float;
    F32 "f32" 32 Float; F64 "f64" 64 Float; S4 "s4" 4 Signed; U4 "u4" 4 Unsigned; B1 "b1" 1 Bits;
    F32x2 "f32x2" 64 Float; Pred "pred" 1 Predicate;
}

/// What the bits of a type mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// Two's complement.
    Signed,
    /// Unsigned integer.
    Unsigned,
    /// Untyped bits.
    Bits,
    /// Floating point.
    Float,
    /// One truth value per lane.
    Predicate,
}

impl ScalarType {
    /// Size in memory.
    #[inline]
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.name())
    }
}

/// A state space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Addresses that may point into any window.
    Generic,
    /// Device memory.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of one thread.
    Local,
    /// Read-only device memory set by the module.
    Const,
    /// Parameters of a kernel or function.
    Param,
}

impl Space {
    /// The name without its dot.
    pub fn name(self) -> &'static str {
        match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Const => "const",
            Space::Param => "param",
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
