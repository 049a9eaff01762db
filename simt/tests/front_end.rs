//! The front end: what it reads from real text, and what it says about bad text.

use simt::ptx::types::ScalarType;
use simt::{Arg, Launch, Machine, Options};
use std::fmt::Write;

const HEAD: &str = ".version 8.0\n.target sm_90a\n.address_size 64\n";

#[test]
fn an_entry_shows_its_signature() {
    let text = format!(
        "{HEAD}.visible .entry k(\n\t.param .u64 .ptr .global .align 16 a,\n\t.param .f32 b,\n\
         \t.param .align 8 .b8 c[24]\n)\n.maxntid 128, 1, 1\n.minnctapersm 2\n{{\n\tret;\n}}\n"
    );
    let module = simt::ptx::parse(&text).expect("parses");
    let entry = module.entry("k").expect("is an entry");
    let shown: Vec<_> = (entry.params().iter())
        .map(|p| (p.name.text.as_str(), p.ty, p.array, p.align, p.size()))
        .collect();
    let want = [
        ("a", ScalarType::U64, None, 8, 8),
        ("b", ScalarType::F32, None, 4, 4),
        ("c", ScalarType::B8, Some(24), 8, 24),
    ];
    assert_eq!(shown, want);
    assert_eq!(entry.bounds().max_threads, Some([128, 1, 1]));
    assert_eq!(entry.bounds().min_blocks, Some(2));
    assert_eq!((module.version, module.target), ((8, 0), 90));
}

#[test]
fn everything_a_compiler_writes_is_read() {
    let body = r#"
.extern .shared .align 16 .b8 dyn[];
.global .align 8 .u64 table[3] = {generic(cells), cells+4, 0x10};
.const .f32 weights[2] = {0f3F800000, 2.5};
.global .align 4 .b8 cells[8] = {1, 2, 3};
.file 1 "src/kernel.rs"
.func (.param .b32 result) twice(.param .b32 x);
.visible .func (.reg .b32 %out) thrice(.reg .b32 %in) { ret; }
.entry k() {
    .reg .pred %p<3>;
    .reg .b32 %r<9>;
    .local .align 8 .b8 depot[16];
    .loc 1 12 5, function_name $L_info, inlined_at 1 3 4
    .pragma "nounroll";
    { .reg .b32 inner; mov.u32 inner, %tid.x; }
    @!%p1 bra $L_end;
    ld.global.nc.L1::no_allocate.v4.b32 {%r1, %r2, _, %r4}, [%r5+-16];
    setp.lt.and.f32 %p1|%p2, %r1, 0f00000000, !%p0;
    shfl.sync.bfly.b32 %r1|%p1, %r2, 1<<2, 31, -1;
    call (%r1), twice, (%r2);
    cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r1], [%r2, {%r3, %r4}], [%r5];
ts: .branchtargets a, b;
    brx.idx %r1, ts;
$L_end: ret;
}
"#;
    let module = simt::ptx::parse(&format!("{HEAD}{body}")).expect("parses");
    assert_eq!(module.variables.len(), 4);
    assert_eq!(module.functions.len(), 3);
    let entry = module.functions.last().expect("the kernel");
    assert_eq!(entry.body.as_ref().map(Vec::len), Some(15));
}

/// Runs a body with 24 bytes at `%rd1` that it may change.
fn run(body: &str, bytes: &[u32; 6]) -> Result<[u32; 6], String> {
    run_after("", body, bytes)
}

/// The same with something before the kernel.
fn run_after(before: &str, body: &str, bytes: &[u32; 6]) -> Result<[u32; 6], String> {
    let text = format!(
        "{HEAD}{before}\n.entry k(.param .u64 p) {{ .reg .b64 %rd<3>; ld.param.u64 %rd1, [p];\n{body}\nret; }}"
    );
    let validated = simt::compile(&text).map_err(|e| e.to_string())?;
    let mut machine = Machine::new(1 << 20);
    let loaded = machine.load(&validated).map_err(|e| e.to_string())?;
    let bytes: Vec<u8> = bytes.iter().flat_map(|w| w.to_le_bytes()).collect();
    let at = machine.allocate_from(&bytes, "words").expect("fits");
    let args = [Arg::Pointer(at)];
    let launch = Launch::new("k", &args);
    let report = machine.launch(&loaded, &launch, &Options::default());
    let report = report.map_err(|e| e.to_string())?;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let mut words = [[0; 4]; 6];
    machine
        .read(at, words.as_flattened_mut())
        .expect("is there");
    Ok(words.map(u32::from_le_bytes))
}

/// What stands in modules from nvcc 12 and 13 besides code.
#[test]
fn what_the_code_does_not_need_is_read_over() {
    let before = r#"
.weak .global .align 4 .u32 weak = 5;
.common .global .align 4 .u32 common;
.global .attribute(.managed) .align 4 .u32 managed;
.global .attribute(.unified(19, 95)) .align 8 .f32 unified[2];
.global .texref texture;
.global .samplerref sampler = { filter_mode = linear, addr_mode_0 = wrap };
.global .surfref surfaces[2];
.extern .global .align 4 .u32 elsewhere;
.extern .func (.param .b32 r) helper (.param .b32 x);
.func (.param .b32 r) kept (.param .b32 x) .abi_preserve 8 .abi_preserve_control 4 { ret; }
.entry textured(.param .texref t) .blocksareclusters .explicitcluster .maxclusterrank 4 .reqntid 32 { ret; }
	.section	.debug_str
	{
$L__info:
.b8 99,108,0
.b64 .debug_info+4
.b32 $L__a-$L__b
	}
"#;
    let body = "
        .pragma \"nounroll\";
        .reg .u32 %r;
        mov.u32 %r, %envreg31;
        st.global.u32 [%rd1], %r;
        mov.u32 %r, %pm7;
        st.global.u32 [%rd1+4], %r;
        ld.global.u32 %r, [weak];
        st.global.u32 [%rd1+8], %r;";
    assert_eq!(
        run_after(before, body, &[1, 2, 3, 4, 5, 6]),
        Ok([0, 0, 5, 4, 5, 6])
    );
}

#[test]
fn an_alias_is_its_function() {
    let of = |alias: &str| {
        let before = format!(
            ".visible .func (.param .b32 r) more (.param .b32 x)
            {{ .reg .u32 %x; ld.param.u32 %x, [x]; add.u32 %x, %x, 40; st.param.b32 [r], %x; ret; }}
            .visible .func (.param .b32 r) also (.param .b32 x);
            {alias}"
        );
        let body = "
            .reg .u32 %r; ld.global.u32 %r, [%rd1];
            { .param .b32 x; .param .b32 r; st.param.b32 [x], %r; call.uni (r), also, (x); ld.param.b32 %r, [r]; }
            st.global.u32 [%rd1], %r;";
        run_after(&before, body, &[2, 0, 0, 0, 0, 0])
    };
    assert_eq!(of(".alias also, more;"), Ok([42, 0, 0, 0, 0, 0]));
    for (alias, says) in [
        ("", "`also` is called, declared, and has no body"),
        (
            ".alias also, other;",
            "there is no function `other` with a body",
        ),
    ] {
        let error = of(alias).expect_err("no body");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_variable_of_another_file_has_no_value() {
    let body = ".reg .u32 %r; ld.global.u32 %r, [v]; st.global.u32 [%rd1], %r;";
    let of = |before: &str| run_after(before, body, &[0; 6]);
    let error = of(".extern .global .u32 v;").expect_err("is nowhere");
    assert!(
        error.contains("unsupported: `v` is declared, and has no definition"),
        "{error}"
    );
    let defined = [".global .u32 v = 7;", ".extern .global .u32 v;"];
    for [a, b] in [[0, 1], [1, 0]] {
        let both = format!("{}{}", defined[a], defined[b]);
        assert_eq!(of(&both), Ok([7, 0, 0, 0, 0, 0]), "{both}");
    }
}

#[test]
fn vector_registers_are_their_elements() {
    let words = [1, 2, 3, 4, 5, 6];
    let body = "
        .reg .v4 .u32 %v; .reg .v2 .b32 %w<3>;
        ld.global.v4.u32 %v, [%rd1];
        add.u32 %v.x, %v.y, %v.w;
        mul.lo.u32 %v.b, %v.r, 100;
        st.global.v4.u32 [%rd1], %v;
        ld.global.v2.b32 %w0, [%rd1+16];
        mov.b64 %rd2, %w0;
        mov.b64 %w2, %rd2;
        { .reg .v2 .b32 %v; mov.b64 %v, %rd2; add.u32 %w2.x, %v.x, 10; }
        st.global.v2.b32 [%rd1+16], {%w2.y, %w2.x};";
    assert_eq!(run(body, &words), Ok([6, 2, 600, 4, 6, 15]));
    for (body, says) in [
        (
            ".reg .v2 .u32 %w; mov.u32 %w.z, 1;",
            "`%w.z` is not declared",
        ),
        (".reg .v2 .u32 %w<2>; ld.global.v2.u32 %w2, [%rd1];", "%w2"),
        (
            ".reg .v2 .u32 %w; ld.global.v4.u32 %w, [%rd1];",
            "4 registers are needed here, not 2",
        ),
        (
            ".reg .v2 .u32 %w; add.u32 %w, %w, %w;",
            "a register of type .u32 is needed here",
        ),
        (".reg .v2 .u32 %w, %w;", "declared twice"),
    ] {
        let error = run(body, &words).expect_err(body);
        assert!(error.contains(says), "{body}: {error}");
    }
}

#[test]
fn bad_text_is_explained() {
    let body = |line: &str| format!("{HEAD}.entry k() {{\n\t{line}\n}}\n");
    let cases = [
        ("no version", "ret;".to_owned()),
        ("no target", ".version 8.0\n.entry k() {}".to_owned()),
        (
            "32-bit addresses",
            ".version 8.0\n.target sm_80\n.address_size 32\n".to_owned(),
        ),
        ("missing semicolon", body("add.s32 %r1, %r2, %r3\n\tret;")),
        ("missing comma", body("add.s32 %r1 %r2;")),
        ("missing operand", body("add.s32 %r1, , %r2;")),
        ("open brace", format!("{HEAD}.entry k() {{ ret;\n")),
        ("open bracket", body("ld.global.u32 %r1, [%rd1;")),
        ("bad number", body("mov.u32 %r1, 0f12;")),
        ("open comment", format!("{HEAD}/* for ever")),
        ("odd character", body("mov.u32 %r1, §;")),
        ("division by zero", body("mov.u32 %r1, 1/0;")),
        (
            "huge array",
            format!("{HEAD}.global .b8 a[4294967296][4294967296];"),
        ),
        (
            "too many values",
            format!("{HEAD}.global .u32 a[1] = {{1, 2}};"),
        ),
        ("alignment", format!("{HEAD}.global .align 3 .u32 a;")),
        ("deep nesting", body(&"{".repeat(100))),
        ("vector of predicates", body(".reg .v2 .pred %p;")),
        ("wide vector", body(".reg .v4 .b64 %v;")),
    ];
    let mut shown = String::new();
    for (title, text) in cases {
        let error = simt::ptx::parse(&text).expect_err(title);
        let _ = writeln!(shown, "## {title}\n{error}");
    }
    insta::with_settings!({snapshot_path => "front_end", omit_expression => true}, {
        insta::assert_snapshot!("bad_text", shown);
    });
}

/// `front_end/refused.txt` has a program a line.
#[test]
fn every_refusal_is_explained() {
    let mut shown = String::new();
    let lines = include_str!("front_end/refused.txt").lines();
    let mut taken = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (before, body) = line.split_once("||").unwrap_or(("", line));
        let body = body.replace("; video", ";\n    video");
        let text = format!(
            "{HEAD}.global .u32 glob;
.const .u32 cst;
.func (.reg .b32 out) fun(.reg .b32 in) {{ mov.b32 out, in; ret; }}
{before}
.entry k() {{
    .reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .f32 %f<4>; .reg .f64 %d<4>;
    .shared .align 128 .b8 tile[256]; .local .b8 loc[64];
    {body}
L:  ret;
}}\n"
        );
        match simt::compile(&text) {
            Ok(_) => taken.push(line),
            Err(error) => {
                let _ = writeln!(shown, "## {line}\n{}\n", error.to_string().trim_end());
            }
        }
    }
    assert!(taken.is_empty(), "not refused:\n{}", taken.join("\n"));
    insta::with_settings!({snapshot_path => "front_end", omit_expression => true}, {
        insta::assert_snapshot!("refused", shown);
    });
}

mod fuzz {
    use proptest::prelude::*;

    const SEED: &str = include_str!("front_end/seed.ptx");

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = simt::ptx::parse(&text);
        }

        #[test]
        fn mutated_ptx_never_panics(cut in 0usize..4000, drop in 0usize..40, put in "[ -~]{0,12}") {
            let start = cut % SEED.len();
            let end = (start + drop).min(SEED.len());
            let text = format!("{}{put}{}", &SEED[..start], &SEED[end..]);
            let _ = simt::ptx::parse(&text);
        }
    }
}
