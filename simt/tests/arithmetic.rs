//! Integer and f32/f64 arithmetic on arbitrary operands, through the whole machine, against the
//! same formulas in wide integers of the host (PTX manual, the pseudo-code of each instruction).
//! Bit patterns are random, with the values mixed in at which things change.

use proptest::prelude::*;
use simt::{Arg, Launch, Machine, Options, compile};
use std::fmt::Write;
use std::sync::LazyLock;

const LANES: usize = 32;

type Narrow = fn(u32, u32, u32) -> u32;
type Wide = fn(u64, u64, u64) -> u64;

fn product(a: u32, b: u32) -> i128 {
    i128::from(a as i32) * i128::from(b as i32)
}

/// `a` and `b` as one word, the second above.
fn funnel(a: u32, b: u32) -> u64 {
    u64::from(b) << 32 | u64::from(a)
}

fn field(a: u64, width: u32, position: u32, length: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let bit = |i: u32| a >> i & 1;
    let fill = if signed && length > 0 {
        bit((position + length - 1).min(width - 1))
    } else {
        0
    };
    (0..width).fold(0, |d, i| {
        let inside = i < length && position + i < width;
        d | (if inside { bit(position + i) } else { fill }) << i
    })
}

fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = funnel(a, b).to_le_bytes();
    let byte = |k: u32| {
        let choice = selector >> (4 * k) & 0xf;
        let byte = bytes[(choice & 7) as usize];
        match choice & 8 {
            0 => byte,
            _ => (byte as i8 >> 7) as u8,
        }
    };
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}

fn table(a: u32, b: u32, c: u32, lut: u32) -> u32 {
    (0..32).fold(0, |d, i| {
        let at = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
        d | (lut >> at & 1) << i
    })
}

fn dots(a: u32, b: u32, signed: [bool; 2]) -> u32 {
    let byte = |word: u32, k: usize, signed: bool| {
        let byte = word.to_le_bytes()[k];
        if signed {
            i32::from(byte as i8)
        } else {
            i32::from(byte)
        }
    };
    let each = (0..4).map(|k| byte(a, k, signed[0]) * byte(b, k, signed[1]));
    each.sum::<i32>() as u32
}

/// NaN is the one NaN that arithmetic makes.
fn single(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

fn double(x: f64) -> u64 {
    if x.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        x.to_bits()
    }
}

fn to_integer(a: u32, round: fn(f64) -> f64, least: f64, most: f64) -> i64 {
    let x = f64::from(f32::from_bits(a));
    if x.is_nan() {
        0
    } else {
        round(x).clamp(least, most) as i64
    }
}

fn float(x: u32) -> f32 {
    f32::from_bits(x)
}

const MIN: f64 = i32::MIN as f64;
const MAX: f64 = i32::MAX as f64;

/// Operands are `%a`, `%b`, `%c`, the result `%d`, and `%t` is free.
const NARROW: &[(&str, Narrow)] = &[
    ("mad.lo.u32 %d, %a, %b, %c;", |a, b, c| {
        (u128::from(a) * u128::from(b) + u128::from(c)) as u32
    }),
    ("mad.hi.u32 %d, %a, %b, %c;", |a, b, c| {
        (((u128::from(a) * u128::from(b)) >> 32) + u128::from(c)) as u32
    }),
    ("mad.hi.s32 %d, %a, %b, %c;", |a, b, c| {
        ((product(a, b) >> 32) + i128::from(c)) as u32
    }),
    ("mad.hi.sat.s32 %d, %a, %b, %c;", |a, b, c| {
        let sum = (product(a, b) >> 32) + i128::from(c as i32);
        sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32
    }),
    ("add.sat.s32 %d, %a, %b;", |a, b, _| {
        let sum = i64::from(a as i32) + i64::from(b as i32);
        sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32
    }),
    ("sub.sat.s32 %d, %a, %b;", |a, b, _| {
        let sum = i64::from(a as i32) - i64::from(b as i32);
        sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32
    }),
    ("mul24.lo.s32 %d, %a, %b;", |a, b, _| {
        let short = |x: u32| i64::from((x << 8) as i32 >> 8);
        (short(a) * short(b)) as u32
    }),
    ("mul24.hi.u32 %d, %a, %b;", |a, b, _| {
        let short = |x: u32| u64::from(x & 0xff_ffff);
        ((short(a) * short(b)) >> 16) as u32
    }),
    ("sad.s32 %d, %a, %b, %c;", |a, b, c| {
        let apart = (i64::from(a as i32) - i64::from(b as i32)).unsigned_abs();
        c.wrapping_add(apart as u32)
    }),
    ("sad.u32 %d, %a, %b, %c;", |a, b, c| {
        let apart = (i64::from(a) - i64::from(b)).unsigned_abs();
        c.wrapping_add(apart as u32)
    }),
    ("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
        (funnel(a, b) << (c & 31) >> 32) as u32
    }),
    ("shf.l.clamp.b32 %d, %a, %b, %c;", |a, b, c| {
        ((u128::from(funnel(a, b)) << c.min(32)) >> 32) as u32
    }),
    ("shf.r.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
        (funnel(a, b) >> (c & 31)) as u32
    }),
    ("shf.r.clamp.b32 %d, %a, %b, %c;", |a, b, c| {
        (funnel(a, b) >> c.min(32)) as u32
    }),
    ("bfe.u32 %d, %a, %b, %c;", |a, b, c| {
        field(a.into(), 32, b, c, false) as u32
    }),
    ("bfe.s32 %d, %a, %b, %c;", |a, b, c| {
        field(a.into(), 32, b, c, true) as u32
    }),
    ("bfi.b32 %d, %a, %b, %c, 7;", |a, b, c| {
        let position = c & 0xff;
        (0..7).filter(|i| position + i < 32).fold(b, |d, i| {
            d & !(1 << (position + i)) | (a >> i & 1) << (position + i)
        })
    }),
    ("prmt.b32 %d, %a, %b, %c;", permute),
    ("lop3.b32 %d, %a, %b, %c, 0x96;", |a, b, c| {
        table(a, b, c, 0x96)
    }),
    ("lop3.b32 %d, %a, %b, %c, 0xE8;", |a, b, c| {
        table(a, b, c, 0xe8)
    }),
    ("lop3.b32 %d, %a, %b, %c, 0x1B;", |a, b, c| {
        table(a, b, c, 0x1b)
    }),
    ("dp4a.u32.u32 %d, %a, %b, %c;", |a, b, c| {
        c.wrapping_add(dots(a, b, [false, false]))
    }),
    ("dp4a.s32.u32 %d, %a, %b, %c;", |a, b, c| {
        c.wrapping_add(dots(a, b, [true, false]))
    }),
    ("dp4a.s32.s32 %d, %a, %b, %c;", |a, b, c| {
        c.wrapping_add(dots(a, b, [true, true]))
    }),
    ("clz.b32 %d, %a;", |a, _, _| {
        (0..32).rev().take_while(|i| a >> i & 1 == 0).count() as u32
    }),
    ("popc.b32 %d, %a;", |a, _, _| {
        (0..32).map(|i| a >> i & 1).sum()
    }),
    ("brev.b32 %d, %a;", |a, _, _| {
        (0..32).fold(0, |d, i| d | (a >> i & 1) << (31 - i))
    }),
    ("bfind.u32 %d, %a;", |a, _, _| {
        (0..32).rev().find(|i| a >> i & 1 == 1).unwrap_or(u32::MAX)
    }),
    ("bfind.s32 %d, %a;", |a, _, _| {
        let sign = a >> 31;
        (0..32)
            .rev()
            .find(|i| a >> i & 1 != sign)
            .unwrap_or(u32::MAX)
    }),
    ("bfind.shiftamt.u32 %d, %a;", |a, _, _| {
        let found = (0..32).rev().find(|i| a >> i & 1 == 1);
        found.map_or(u32::MAX, |at| 31 - at)
    }),
    ("abs.s32 %d, %a;", |a, _, _| {
        i64::from(a as i32).unsigned_abs() as u32
    }),
    ("cnot.b32 %d, %a;", |a, _, _| u32::from(a == 0)),
    ("or.b32 %t, %b, 1; div.s32 %d, %a, %t;", |a, b, _| {
        (i64::from(a as i32) / i64::from((b | 1) as i32)) as u32
    }),
    ("or.b32 %t, %b, 1; rem.s32 %d, %a, %t;", |a, b, _| {
        (i64::from(a as i32) % i64::from((b | 1) as i32)) as u32
    }),
    ("cvt.rni.s32.f32 %d, %a;", |a, _, _| {
        to_integer(a, f64::round_ties_even, MIN, MAX) as u32
    }),
    ("cvt.rzi.s32.f32 %d, %a;", |a, _, _| {
        to_integer(a, f64::trunc, MIN, MAX) as u32
    }),
    ("cvt.rmi.s32.f32 %d, %a;", |a, _, _| {
        to_integer(a, f64::floor, MIN, MAX) as u32
    }),
    ("cvt.rpi.u32.f32 %d, %a;", |a, _, _| {
        to_integer(a, f64::ceil, 0.0, f64::from(u32::MAX)) as u32
    }),
    ("cvt.rn.f32.s32 %d, %a;", |a, _, _| {
        (f64::from(a as i32) as f32).to_bits()
    }),
    ("cvt.rn.f32.u32 %d, %a;", |a, _, _| {
        (f64::from(a) as f32).to_bits()
    }),
    ("fma.rn.f32 %d, %a, %b, %c;", |a, b, c| {
        single(float(a).mul_add(float(b), float(c)))
    }),
    ("sqrt.rn.f32 %d, %a;", |a, _, _| single(float(a).sqrt())),
    ("min.f32 %d, %a, %b;", |a, b, _| {
        let (x, y) = (float(a), float(b));
        match (x.is_nan(), y.is_nan()) {
            (true, true) => 0x7fff_ffff,
            (true, false) => b,
            (false, true) => a,
            _ if x < y || x == y && x.is_sign_negative() => a,
            _ => b,
        }
    }),
];

const WIDE: &[(&str, Wide)] = &[
    ("mul.hi.u64 %d, %a, %b;", |a, b, _| {
        ((u128::from(a) * u128::from(b)) >> 64) as u64
    }),
    ("mul.hi.s64 %d, %a, %b;", |a, b, _| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    }),
    ("mad.lo.s64 %d, %a, %b, %c;", |a, b, c| {
        (u128::from(a).wrapping_mul(u128::from(b)) as u64).wrapping_add(c)
    }),
    ("cvt.u32.u64 %n, %b; shl.b64 %d, %a, %n;", |a, b, _| {
        if b as u32 > 63 { 0 } else { a << (b as u32) }
    }),
    ("cvt.u32.u64 %n, %b; shr.u64 %d, %a, %n;", |a, b, _| {
        if b as u32 > 63 { 0 } else { a >> (b as u32) }
    }),
    ("cvt.u32.u64 %n, %b; shr.s64 %d, %a, %n;", |a, b, _| {
        (a as i64 >> (b as u32).min(63)) as u64
    }),
    (
        "cvt.u32.u64 %n, %b; cvt.u32.u64 %m, %c; bfe.u64 %d, %a, %n, %m;",
        |a, b, c| field(a, 64, b as u32, c as u32, false),
    ),
    (
        "cvt.u32.u64 %n, %b; cvt.u32.u64 %m, %c; bfe.s64 %d, %a, %n, %m;",
        |a, b, c| field(a, 64, b as u32, c as u32, true),
    ),
    ("clz.b64 %n, %a; cvt.u64.u32 %d, %n;", |a, _, _| {
        (0..64).rev().take_while(|i| a >> i & 1 == 0).count() as u64
    }),
    ("popc.b64 %n, %a; cvt.u64.u32 %d, %n;", |a, _, _| {
        (0..64).map(|i| a >> i & 1).sum()
    }),
    ("brev.b64 %d, %a;", |a, _, _| {
        (0..64).fold(0, |d, i| d | (a >> i & 1) << (63 - i))
    }),
    ("min.s64 %d, %a, %b;", |a, b, _| {
        (a as i64).min(b as i64) as u64
    }),
    ("max.u64 %d, %a, %b;", |a, b, _| a.max(b)),
    ("or.b64 %t, %b, 1; div.u64 %d, %a, %t;", |a, b, _| {
        a / (b | 1)
    }),
    ("or.b64 %t, %b, 1; rem.s64 %d, %a, %t;", |a, b, _| {
        (i128::from(a as i64) % i128::from((b | 1) as i64)) as u64
    }),
    // The carry goes into the next addition, the borrow into the next difference.
    (
        "mov.b64 {%n, %m}, %a; mov.b64 {%u, %v}, %b; add.cc.u32 %n, %n, %u; addc.u32 %m, %m, %v; \
         mov.b64 %d, {%n, %m};",
        |a, b, _| a.wrapping_add(b),
    ),
    (
        "mov.b64 {%n, %m}, %a; mov.b64 {%u, %v}, %b; sub.cc.u32 %n, %n, %u; subc.u32 %m, %m, %v; \
         mov.b64 %d, {%n, %m};",
        |a, b, _| a.wrapping_sub(b),
    ),
    (
        "cvt.u32.u64 %n, %a; cvt.u32.u64 %m, %b; mad.wide.s32 %d, %n, %m, %c;",
        |a, b, c| (product(a as u32, b as u32) as u64).wrapping_add(c),
    ),
    (
        "cvt.u32.u64 %n, %a; cvt.u32.u64 %m, %b; mul.wide.u32 %d, %n, %m;",
        |a, b, _| u64::from(a as u32) * u64::from(b as u32),
    ),
    ("fma.rn.f64 %d, %a, %b, %c;", |a, b, c| {
        let x = f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c));
        double(x)
    }),
    ("sqrt.rn.f64 %d, %a;", |a, _, _| {
        double(f64::from_bits(a).sqrt())
    }),
    ("cvt.rn.f32.f64 %n, %a; cvt.u64.u32 %d, %n;", |a, _, _| {
        single(f64::from_bits(a) as f32).into()
    }),
];

/// Loads `%a`, `%b` and `%c` of each lane, and stores the result of each line.
fn program(lines: impl Iterator<Item = &'static str>, bits: u32) -> String {
    let bytes = bits / 8;
    let mut text = format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n\
         .entry k(.param .u64 in, .param .u64 out) {{\n\
         .reg .b{bits} %a, %b, %c, %d, %t; .reg .b32 %n, %m, %u, %v, %i; .reg .b64 %in, %out;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %i, %tid.x;\n\
         mad.wide.u32 %in, %i, {bytes}, %in; mad.wide.u32 %out, %i, {bytes}, %out;\n"
    );
    let row = LANES * bytes as usize;
    for (k, name) in ["a", "b", "c"].iter().enumerate() {
        let _ = writeln!(text, "ld.global.b{bits} %{name}, [%in+{}];", k * row);
    }
    for (k, line) in lines.enumerate() {
        let _ = writeln!(text, "{line} st.global.b{bits} [%out+{}], %d;", k * row);
    }
    text + "ret; }"
}

fn results(text: &str, operands: &[u8], count: usize) -> Vec<u8> {
    let mut machine = Machine::new(1 << 24);
    let validated = compile(text).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&validated).expect("fits");
    let input = machine.allocate_from(operands, "in").expect("fits");
    let bytes = operands.len() / 3 * count;
    let out = machine.allocate(bytes as u64, "out").expect("fits");
    let args = [Arg::Pointer(input), Arg::Pointer(out)];
    let launch = Launch {
        block: [LANES as u32, 1, 1],
        ..Launch::new("k", &args)
    };
    let report = machine.launch(&loaded, &launch, &Options::default());
    assert!(report.expect("runs").findings.is_empty());
    let mut got = vec![0; bytes];
    machine.read(out, &mut got).expect("is there");
    got
}

/// Operands: anything, small numbers of either sign, and the bounds of formats.
fn narrow() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        (0u32..70).prop_map(|v| v.wrapping_sub(3)),
        prop::sample::select(vec![
            0x8000_0000,
            0x7fff_ffff,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            1,
            0x007f_ffff,
            0x3f80_0000,
            0x4f00_0000,
            0xcf00_0000,
            0x3f00_0000,
            0xbf00_0000,
            0x4020_0000,
        ]),
        any::<f32>().prop_map(f32::to_bits),
    ]
}

fn wide() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0u64..140).prop_map(|v| v.wrapping_sub(3)),
        prop::sample::select(vec![
            1 << 63,
            u64::MAX >> 1,
            0x7ff0_0000_0000_0000,
            0xfff8_0000_0000_0001,
            u64::MAX >> 32,
            1 << 32,
            0x3ff0_0000_0000_0000,
        ]),
        any::<f64>().prop_map(f64::to_bits),
    ]
}

static NARROW_TEXT: LazyLock<String> =
    LazyLock::new(|| program(NARROW.iter().map(|(line, _)| *line), 32));
static WIDE_TEXT: LazyLock<String> =
    LazyLock::new(|| program(WIDE.iter().map(|(line, _)| *line), 64));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn narrow_results_are_those_of_the_formulas(
        operands in prop::collection::vec(narrow(), 3 * LANES)
    ) {
        let bytes: Vec<u8> = operands.iter().flat_map(|v| v.to_le_bytes()).collect();
        let got = results(&NARROW_TEXT, &bytes, NARROW.len());
        for (at, got) in got.chunks_exact(4).enumerate() {
            let ((line, meaning), lane) = (NARROW[at / LANES], at % LANES);
            let [a, b, c] = [0, 1, 2].map(|k| operands[k * LANES + lane]);
            let got = u32::from_le_bytes([got[0], got[1], got[2], got[3]]);
            let want = meaning(a, b, c);
            prop_assert_eq!(got, want, "{} of {:#x} {:#x} {:#x}: {:#x}, not {:#x}", line, a, b, c, got, want);
        }
    }

    #[test]
    fn wide_results_are_those_of_the_formulas(
        operands in prop::collection::vec(wide(), 3 * LANES)
    ) {
        let bytes: Vec<u8> = operands.iter().flat_map(|v| v.to_le_bytes()).collect();
        let got = results(&WIDE_TEXT, &bytes, WIDE.len());
        for (at, got) in got.chunks_exact(8).enumerate() {
            let ((line, meaning), lane) = (WIDE[at / LANES], at % LANES);
            let [a, b, c] = [0, 1, 2].map(|k| operands[k * LANES + lane]);
            let got = got.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
            let want = meaning(a, b, c);
            prop_assert_eq!(got, want, "{} of {:#x} {:#x} {:#x}: {:#x}, not {:#x}", line, a, b, c, got, want);
        }
    }
}
