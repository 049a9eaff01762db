//! The targets device code is built for, and the compiler's flags.

/// A GPU architecture we ship PTX for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The architecture, as in the PTX's `.target`.
    pub name: &'static str,
    /// The PTX version to write, as the compiler's feature: the lowest that has all we use, so that
    /// old drivers take it.
    pub ptx_feature: &'static str,
}

/// Ampere, whose PTX every later GPU runs; and Hopper with its own instructions, which only it runs.
pub const TARGETS: [Target; 2] = [
    // 7.4 has `ld.global.L1::no_allocate`.
    Target {
        name: "sm_80",
        ptx_feature: "+ptx74",
    },
    // 8.0 is the first with sm_90a.
    Target {
        name: "sm_90a",
        ptx_feature: "+ptx80",
    },
];

/// The environment variables that set the release profile for a device build.
pub const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    // `.loc` and `.file` lines and nothing else: a fault can name the Rust line.
    ("CARGO_PROFILE_RELEASE_DEBUG", "line-directives-only"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
];

/// The compiler's flags for a target, apart from paths.
pub fn flags(target: Target) -> Vec<String> {
    [
        format!("-Ctarget-cpu={}", target.name),
        format!("-Ctarget-feature={}", target.ptx_feature),
        // Jump threading on MIR copies barriers into divergent branches (rust-lang/rust#137086).
        "-Zmir-enable-passes=-JumpThreading".into(),
        // Register tiles are arrays: only full unrolling keeps them out of local memory.
        "-Cllvm-args=-unroll-threshold=5000".into(),
        // The result is the assembly; there is nothing to link, but without the step no LTO.
        "--emit=asm".into(),
        "-Clinker=true".into(),
        // A panic is an inline `trap`, not a call with a message.
        "-Zunstable-options".into(),
        "-Cpanic=immediate-abort".into(),
    ]
    .into()
}
