//! Random straight-line programs against a model that knows one thread and nothing else.

use proptest::prelude::*;
use simt::{Arg, Launch, Machine, Options, compile};
use std::fmt::Write;

const REGISTERS: usize = 6;
const THREADS: u32 = 45;

/// One instruction: what it is, its guard, destination and sources.
#[derive(Clone, Debug)]
struct Step {
    op: usize,
    guard: Option<bool>,
    d: usize,
    a: usize,
    b: usize,
    immediate: Option<u32>,
}

type Meaning = fn(u32, u32) -> u32;

/// An f32 result: every NaN is the one that the manual names.
fn single(f: impl Fn(f32, f32) -> f32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| {
        let x = f(f32::from_bits(a), f32::from_bits(b));
        if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
    }
}

/// Each instruction with its meaning, written down a second time.
const OPS: &[(&str, Meaning)] = &[
    ("add.s32", |a, b| a.wrapping_add(b)),
    ("sub.u32", |a, b| a.wrapping_sub(b)),
    ("mul.lo.u32", |a, b| a.wrapping_mul(b)),
    ("mul.hi.u32", |a, b| ((a as u64 * b as u64) >> 32) as u32),
    ("mul.hi.s32", |a, b| {
        ((a as i32 as i64 * b as i32 as i64) >> 32) as u32
    }),
    ("and.b32", |a, b| a & b),
    ("or.b32", |a, b| a | b),
    ("xor.b32", |a, b| a ^ b),
    ("shl.b32", |a, b| a.checked_shl(b).unwrap_or(0)),
    ("shr.u32", |a, b| a.checked_shr(b).unwrap_or(0)),
    ("shr.s32", |a, b| (a as i32 >> b.min(31)) as u32),
    ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
    ("max.u32", |a, b| a.max(b)),
    ("div.u32", |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
    ("rem.u32", |a, b| a.checked_rem(b).unwrap_or(a)),
    ("min.u32", |a, b| a.min(b)),
    ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
    ("mul.lo.s32", |a, b| a.wrapping_mul(b)),
    ("add.rn.f32", |a, b| single(|x, y| x + y)(a, b)),
    ("sub.rn.f32", |a, b| single(|x, y| x - y)(a, b)),
    ("mul.rn.f32", |a, b| single(|x, y| x * y)(a, b)),
    ("div.rn.f32", |a, b| single(|x, y| x / y)(a, b)),
    ("copysign.f32", |a, b| a & 0x8000_0000 | b & 0x7fff_ffff),
];

fn step() -> impl Strategy<Value = Step> {
    let register = 0..REGISTERS;
    let guard = proptest::option::weighted(0.3, any::<bool>());
    let immediate = proptest::option::weighted(0.3, any::<u32>());
    (
        0..OPS.len(),
        guard,
        register.clone(),
        register.clone(),
        register,
        immediate,
    )
        .prop_map(|(op, guard, d, a, b, immediate)| Step {
            op,
            guard,
            d,
            a,
            b,
            immediate,
        })
}

fn text(steps: &[Step]) -> String {
    let mut t = String::from(
        ".version 7.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 out) {\n\
         .reg .pred %p; .reg .b32 %r<6>; .reg .b32 %t; .reg .b64 %a, %o;\n\
         ld.param.u64 %o, [out];\nmov.u32 %t, %tid.x;\n",
    );
    for r in 0..REGISTERS {
        let _ = writeln!(t, "mad.lo.u32 %r{r}, %t, {}, {r};", 0x9e37_79b9u32 >> r);
    }
    let _ = writeln!(t, "and.b32 %t, %t, 1; setp.eq.u32 %p, %t, 1;");
    for s in steps {
        let guard = match s.guard {
            None => "",
            Some(true) => "@%p ",
            Some(false) => "@!%p ",
        };
        let float = OPS[s.op].0.ends_with(".f32");
        let literal = |v: u32| {
            if float {
                format!("0f{v:08X}")
            } else {
                v.to_string()
            }
        };
        let b = s.immediate.map_or(format!("%r{}", s.b), literal);
        let _ = writeln!(t, "{guard}{} %r{}, %r{}, {b};", OPS[s.op].0, s.d, s.a);
    }
    let _ = writeln!(
        t,
        "mov.u32 %t, %tid.x; mad.wide.u32 %a, %t, {}, %o;",
        4 * REGISTERS
    );
    for r in 0..REGISTERS {
        let _ = writeln!(t, "st.global.u32 [%a+{}], %r{r};", 4 * r);
    }
    t + "ret; }"
}

fn model(steps: &[Step], thread: u32) -> [u32; REGISTERS] {
    let mut r =
        std::array::from_fn(|i| thread.wrapping_mul(0x9e37_79b9 >> i).wrapping_add(i as u32));
    for s in steps {
        if s.guard.is_none_or(|g| g == (thread & 1 == 1)) {
            r[s.d] = OPS[s.op].1(r[s.a], s.immediate.unwrap_or(r[s.b]));
        }
    }
    r
}

proptest! {
    #[test]
    fn the_machine_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..40)) {
        let mut machine = Machine::new(1 << 20);
        let loaded = machine.load(&compile(&text(&steps)).expect("is valid")).expect("fits");
        let bytes = THREADS as usize * REGISTERS * 4;
        let out = machine.allocate(bytes as u64, "out").expect("fits");
        let args = [Arg::Pointer(out)];
        let launch = Launch { block: [THREADS, 1, 1], ..Launch::new("k", &args) };
        machine.launch(&loaded, &launch, &Options::default()).expect("runs");
        let mut got = vec![0; bytes];
        machine.read(out, &mut got).expect("is there");
        let want: Vec<u8> = (0..THREADS)
            .flat_map(|t| model(&steps, t))
            .flat_map(u32::to_le_bytes)
            .collect();
        prop_assert_eq!(got, want);
    }
}
