//! What the contracts of both passes share.

use crate::task::{Parameter, Port, Size};

pub(in crate::task) const HEADS: [Size; 3] = [
    Size {
        name: "Hq",
        meaning: "heads of q, a multiple of Hkv",
    },
    Size {
        name: "Hkv",
        meaning: "heads of k and v",
    },
    Size {
        name: "D",
        meaning: "length of a vector",
    },
];

pub(in crate::task) const SEQUENCES: Size = Size {
    name: "B",
    meaning: "sequences",
};

pub(in crate::task) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "scale",
        kind: "float",
        default: None,
        meaning: "factor on q·k, exactly an f32; often 1/√D, but not always",
    },
    Parameter {
        name: "causal",
        kind: "bool",
        default: Some("false"),
        meaning: "query i sees no key after its own position i + Nk − Nq",
    },
    Parameter {
        name: "window_left",
        kind: "int",
        default: Some("no limit"),
        meaning: "how many keys before its position a query sees, its own not counted",
    },
    Parameter {
        name: "window_right",
        kind: "int",
        default: Some("no limit"),
        meaning: "how many keys after its position it sees",
    },
    Parameter {
        name: "softcap",
        kind: "float",
        default: Some("none"),
        meaning: "s ← softcap·tanh(s/softcap) on the scaled score, before any mask",
    },
];

/// A tensor of every call.
pub(in crate::task) const fn port(
    name: &'static str,
    dtype: &'static str,
    shape: &'static [&'static str],
    meaning: &'static str,
) -> Port {
    Port {
        name,
        dtype,
        shape,
        optional: false,
        meaning,
    }
}

pub(in crate::task) const FLOATS: &str = "f32|f16|bf16";
pub(in crate::task) const DENSE_Q: &[&str] = &["B", "Hq", "Nq", "D"];
pub(in crate::task) const DENSE_K: &[&str] = &["B", "Hkv", "Nk", "D"];
pub(in crate::task) const PACKED_Q: &[&str] = &["Tq", "Hq", "D"];
pub(in crate::task) const PACKED_K: &[&str] = &["Tk", "Hkv", "D"];
pub(in crate::task) const STARTS: &[&str] = &["B+1"];
pub(in crate::task) const CU_Q: Port = port(
    "cu_q",
    "i32",
    STARTS,
    "sequence b has the queries cu_q[b] to cu_q[b+1] − 1",
);
pub(in crate::task) const CU_K: Port = port(
    "cu_k",
    "i32",
    STARTS,
    "sequence b has the keys cu_k[b] to cu_k[b+1] − 1",
);
