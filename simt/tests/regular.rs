//! Accesses of every pattern against a model that knows lanes and bytes only: regular or not, whole
//! warp or part of it, inside or across an end, aligned or not, written before or not, apart or in
//! a race. The machine has short ways for what is regular, and each must come to the same.

use proptest::prelude::*;
use simt::check::{Checker, Mistake};
use simt::{Arg, FaultKind, Launch, LaunchError, Machine, Options, Order, compile};
use std::collections::BTreeSet;

const BYTES: usize = 2048;
const LANES: usize = 32;

/// Where the memory under test is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Space {
    Global,
    Generic,
    Shared,
}

/// Elements of an access: how many, and bytes of each.
#[derive(Clone, Copy, Debug)]
struct Shape {
    count: usize,
    size: usize,
}

impl Shape {
    fn bytes(self) -> usize {
        self.count * self.size
    }
}

/// A load or store of a warp.
#[derive(Clone, Debug)]
struct Access {
    store: bool,
    shape: Shape,
    mask: u32,
    offsets: Vec<i64>,
}

#[derive(Clone, Debug)]
struct Case {
    space: Space,
    /// Whether the first warp makes both accesses; else the second makes the second.
    one_warp: bool,
    /// Whether the second access waits for the first.
    barrier: bool,
    /// Whether the host's threads share the memory, which then is of another kind.
    together: bool,
    accesses: [Access; 2],
    /// Words that were never written.
    unwritten: BTreeSet<usize>,
}

fn offsets(shape: Shape) -> impl Strategy<Value = Vec<i64>> {
    let step = shape.bytes() as i64;
    let slots = BYTES as i64 / step;
    let strides = prop_oneof![
        Just(step),
        Just(-step),
        Just(0),
        Just(2 * step),
        Just(4),
        Just(12),
        Just(1 << 36),
        -40i64..40,
    ];
    let strided = |start: i64, stride: i64| {
        let lane = move |lane: i64| start.wrapping_add(stride.wrapping_mul(lane));
        (0..LANES as i64).map(lane).collect::<Vec<_>>()
    };
    let regular = prop_oneof![
        4 => (0..=slots - LANES as i64).prop_map(move |s| strided(s * step, step)),
        2 => (0..slots).prop_map(move |s| strided(s * step, 0)),
        1 => (slots - 34..slots).prop_map(move |s| strided(s * step, step)),
        1 => (0..slots).prop_map(move |s| strided(s * step, -step)),
        2 => (-8i64..520, strides).prop_map(move |(s, stride)| strided(4 * s, stride)),
        1 => (0..slots / 32 + 1).prop_map(move |s| {
            (0..LANES as i64).map(|lane| (32 * s % slots + (lane ^ 5)) % slots * step).collect()
        }),
    ];
    let other = prop::option::weighted(0.3, (0..LANES, -2..slots + 2));
    (regular, other).prop_map(move |(mut all, other)| {
        if let Some((lane, slot)) = other {
            all[lane] = slot * step;
        }
        all
    })
}

fn access() -> impl Strategy<Value = Access> {
    let shapes = [(1, 4), (2, 4), (4, 4), (1, 8), (2, 8)];
    let shape = prop::sample::select(shapes.map(|(count, size)| Shape { count, size }).to_vec());
    let mask = prop_oneof![
        5 => Just(u32::MAX),
        1 => Just(0xffff),
        1 => (0u32..32).prop_map(|lane| 1 << lane),
        1 => any::<u32>(),
    ];
    (any::<bool>(), shape, mask).prop_flat_map(|(store, shape, mask)| {
        offsets(shape).prop_map(move |offsets| Access {
            store,
            shape,
            mask,
            offsets,
        })
    })
}

fn case() -> impl Strategy<Value = Case> {
    let space = prop::sample::select(vec![Space::Global, Space::Generic, Space::Shared]);
    let words = BYTES / 4;
    let unwritten = prop_oneof![
        2 => Just(BTreeSet::new()),
        1 => prop::collection::btree_set(0..words, 1..4),
        1 => (0..words).prop_map(move |from| (from..words).collect()),
    ];
    // Half of the second accesses go where the first went, by other lanes or but for one of them.
    let again = prop::option::of((0..3usize, 0..LANES));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (space, flags, [access(), access()], again, unwritten).prop_map(
        |(space, (one_warp, barrier, together), mut accesses, again, unwritten)| {
            if let Some((moved, lane)) = again {
                let [first, second] = &mut accesses;
                (second.shape, second.mask) = (first.shape, first.mask);
                let moved_lane = second.offsets[lane];
                second.offsets.clone_from(&first.offsets);
                match moved {
                    0 => {}
                    1 => second.offsets.rotate_left(lane),
                    _ => second.offsets[lane] = moved_lane,
                }
            }
            if space == Space::Shared {
                // Its addresses have 32 bits.
                let offsets = accesses.iter_mut().flat_map(|a| &mut a.offsets);
                offsets.for_each(|offset| *offset = i64::from(*offset as i32));
            }
            Case {
                space,
                one_warp,
                barrier,
                together,
                accesses,
                unwritten,
            }
        },
    )
}

/// What the machine should say and leave.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Whether an access is misaligned or outside, and the first thread of which that is so.
    fault: Option<(bool, u32)>,
    race: bool,
    unwritten: bool,
    memory: Vec<u8>,
    /// What threads loaded.
    out: Vec<Vec<u8>>,
}

/// What byte `at` of a thread's value to store is.
fn stored(thread: usize, at: usize) -> u8 {
    (thread * 16 + at) as u8 | 1
}

fn initial(case: &Case) -> (Vec<u8>, Vec<bool>) {
    let written = |at: usize| !case.unwritten.contains(&(at / 4));
    let value = |at: usize| if written(at) { (at * 7 + 3) as u8 } else { 0 };
    (
        (0..BYTES).map(value).collect(),
        (0..BYTES).map(written).collect(),
    )
}

fn model(case: &Case) -> Outcome {
    let (mut memory, mut written) = initial(case);
    let mut out = vec![Vec::new(); 2 * LANES];
    let mut unwritten = false;
    let active = |a: &Access| {
        (0..LANES)
            .filter(|l| a.mask >> l & 1 != 0)
            .collect::<Vec<_>>()
    };
    for (warp, access) in case.accesses.iter().enumerate() {
        let first_thread = if case.one_warp { 0 } else { warp * LANES };
        let bytes = access.shape.bytes() as i64;
        let lanes = active(access);
        let crooked = |l: &&usize| access.offsets[**l] % bytes != 0;
        let outside = |l: &&usize| {
            let at = access.offsets[**l];
            at < 0 || at + bytes > BYTES as i64
        };
        for (misaligned, lane) in [
            (true, lanes.iter().find(crooked)),
            (false, lanes.iter().find(outside)),
        ] {
            if let Some(lane) = lane {
                return Outcome {
                    fault: Some((misaligned, (first_thread + lane) as u32)),
                    ..Outcome::default()
                };
            }
        }
        for lane in lanes {
            let (at, thread) = (access.offsets[lane] as usize, warp * LANES + lane);
            let place = at..at + bytes as usize;
            if access.store {
                for byte in place {
                    memory[byte] = stored(thread, byte - at);
                    written[byte] = true;
                }
            } else {
                out[thread] = memory[place.clone()].to_vec();
                let mut elements = written[place].chunks(access.shape.size);
                unwritten |= elements.any(|e| e.iter().all(|known| !known));
            }
        }
    }
    let overlap = |a: (&Access, usize), b: (&Access, usize)| {
        let (x, y) = (a.0.offsets[a.1], b.0.offsets[b.1]);
        x < y + b.0.shape.bytes() as i64 && y < x + a.0.shape.bytes() as i64
    };
    let [first, second] = &case.accesses;
    let within = |a: &Access| {
        let pairs = |x: &usize| active(a).iter().any(|y| x < y && overlap((a, *x), (a, *y)));
        a.store && active(a).iter().any(pairs)
    };
    let meets = |x: &usize| {
        active(second)
            .iter()
            .any(|y| !(case.one_warp && x == y) && overlap((first, *x), (second, *y)))
    };
    let between = !case.barrier && (first.store || second.store) && active(first).iter().any(meets);
    Outcome {
        fault: None,
        race: within(first) || within(second) || between,
        unwritten,
        memory,
        out,
    }
}

fn text(case: &Case) -> String {
    let body = |access: &Access| {
        let Shape { count, size } = access.shape;
        let space = match case.space {
            Space::Global => ".global",
            Space::Generic => "",
            Space::Shared => ".shared",
        };
        let address = match case.space {
            Space::Shared => "%r6",
            _ => "%rd7",
        };
        let vector = ["", "", ".v2", "", ".v4"][count];
        let register = if size == 4 { "%r1" } else { "%rd1" };
        let names: Vec<_> = (0..count).map(|k| format!("{register}{k}")).collect();
        let list = match count {
            1 => names[0].clone(),
            _ => format!("{{{}}}", names.join(", ")),
        };
        let ty = 8 * size;
        if access.store {
            format!("@%p1 st{space}{vector}.b{ty} [{address}], {list};\n")
        } else {
            let keep = |(k, name): (usize, &String)| {
                format!("@%p1 st.global.b{ty} [%rd9+{}], {name};\n", k * size)
            };
            let kept: String = names.iter().enumerate().map(keep).collect();
            format!("@%p1 ld{space}{vector}.b{ty} {list}, [{address}];\n{kept}")
        }
    };
    let wait = if case.barrier { "bar.sync 0;" } else { "" };
    let fill: String = (0..BYTES / 4 / 64)
        .map(|k| {
            let at = 256 * k;
            format!("ld.global.b32 %r9, [%rd11+{at}]; st.shared.b32 [%r7+{at}], %r9;\n")
        })
        .collect();
    let fill = if case.space == Space::Shared {
        format!("{fill}bar.sync 0;\n")
    } else {
        String::new()
    };
    // A register for each word or pair of words of a value, with the bytes of `stored`.
    let value = |k: usize, bytes: usize| {
        (0..bytes)
            .map(|b| ((k * bytes + b) as u64) << (8 * b))
            .sum::<u64>()
    };
    let ones = |bytes: usize| (0..bytes).map(|b| 1u64 << (8 * b)).sum::<u64>();
    let words: String = (0..4)
        .map(|k| {
            let (offset, one) = (value(k, 4), ones(4));
            format!("add.u32 %r1{k}, %r20, {offset}; or.b32 %r1{k}, %r1{k}, {one};\n")
        })
        .collect();
    let pairs: String = (0..2)
        .map(|k| {
            let (offset, one) = (value(k, 8), ones(8));
            format!(
                "mov.b64 %rd20, {offset}; add.u64 %rd1{k}, %rd21, %rd20;
                 mov.b64 %rd20, {one}; or.b64 %rd1{k}, %rd1{k}, %rd20;\n"
            )
        })
        .collect();
    let [a, b] = case.accesses.each_ref().map(body);
    // Registers of the access that is number `plus + %tid.x` of the plan.
    let own = |plus: usize| {
        format!(
            "add.u32 %r1, %r30, {plus};
    mul.wide.u32 %rd4, %r1, 16;
    add.u64 %rd5, %rd2, %rd4;
    add.u64 %rd9, %rd3, %rd4;
    ld.global.u64 %rd6, [%rd5];
    ld.global.u32 %r2, [%rd5+8];
    setp.ne.u32 %p1, %r2, 0;
    add.u64 %rd7, %rd1, %rd6;
    cvt.u32.u64 %r5, %rd6;
    add.u32 %r6, %r4, %r5;
    and.b32 %r20, %r1, 15;
    mul.lo.u32 %r20, %r20, 0x10101010;
    mov.b64 %rd21, {{%r20, %r20}};
    {words}{pairs}"
        )
    };
    let (mine, b) = (
        own(0),
        format!("{}{b}", own(if case.one_warp { LANES } else { 0 })),
    );
    let (after, other) = match case.one_warp {
        true => (b, String::new()),
        false => (String::new(), b),
    };
    format!(
        ".version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 data, .param .u64 plan, .param .u64 out) {{
    .reg .pred %p<4>; .reg .b32 %r<32>; .reg .b64 %rd<32>;
    .shared .align 16 .b8 tile[{BYTES}];
    ld.param.u64 %rd1, [data];
    ld.param.u64 %rd2, [plan];
    ld.param.u64 %rd3, [out];
    mov.u32 %r30, %ctaid.x;
    setp.ne.u32 %p2, %r30, 0;
    @%p2 ret;
    mov.u32 %r30, %tid.x;
    setp.ge.u32 %p2, %r30, 32;
    mov.u32 %r4, tile;
    shl.b32 %r8, %r30, 2;
    add.u32 %r7, %r4, %r8;
    mul.wide.u32 %rd10, %r30, 4;
    add.u64 %rd11, %rd1, %rd10;
    {fill}
    @%p2 bra SECOND;
    {mine}{a}
    {wait}
    {after}
    bra.uni END;
SECOND:
    {wait}
    {other}
END:
    ret;
}}"
    )
}

fn run(case: &Case) -> Result<Outcome, TestCaseError> {
    let text = text(case);
    let validated = compile(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut machine = Machine::new(1 << 20);
    let loaded = machine.load(&validated).expect("fits");
    let data = machine.allocate(BYTES as u64, "data").expect("fits");
    let (memory, written) = initial(case);
    for (at, byte) in memory.iter().enumerate().filter(|(at, _)| written[*at]) {
        let there = data + at as u64;
        machine.write(there, &[*byte]).expect("inside");
    }
    let mut plan = Vec::new();
    for access in &case.accesses {
        for (lane, offset) in access.offsets.iter().enumerate() {
            plan.extend(offset.to_le_bytes());
            plan.extend(u64::from(access.mask >> lane & 1).to_le_bytes());
        }
    }
    let plan = machine.allocate_from(&plan, "plan").expect("fits");
    let out = machine.allocate_zeroed(64 * 16, "out").expect("fits");
    let args = [data, plan, out].map(Arg::Pointer);
    // A second block does nothing but give a second thread of the host something to run.
    let (grid, order) = match case.together {
        true => ([2, 1, 1], Order::Parallel),
        false => ([1, 1, 1], Order::Ordered),
    };
    let launch = Launch {
        grid,
        block: [64, 1, 1],
        ..Launch::new("k", &args)
    };
    let options = Options {
        order,
        ..Options::default()
    };
    let checked = machine.launch(&loaded, &launch, &options);
    let report = match checked {
        Ok(report) => report,
        Err(LaunchError::Fault(fault)) => {
            let misaligned = match fault.kind {
                FaultKind::Misaligned { .. } => true,
                FaultKind::OutOfBounds { .. } => false,
                other => panic!("{other:?}"),
            };
            let thread = fault.thread.expect("a fault of a thread").thread[0];
            return Ok(Outcome {
                fault: Some((misaligned, thread)),
                ..Outcome::default()
            });
        }
        Err(other) => panic!("{other}"),
    };
    let found = |checkers: &[Checker]| {
        report
            .findings
            .iter()
            .any(|f| checkers.contains(&f.checker))
    };
    let race = found(&[Checker::SharedRace, Checker::GlobalRace]);
    let unwritten = found(&[Checker::Uninitialised]);
    let expected = report
        .findings
        .iter()
        .all(|f| f.checker != Checker::Uninitialised || f.mistake == Mistake::Unwritten);
    prop_assert!(expected, "{:?}", report.findings);
    let mut memory = vec![0; BYTES];
    machine.read(data, &mut memory).expect("inside");
    let mut all = vec![0; 64 * 16];
    machine.read(out, &mut all).expect("inside");
    let loaded_by = |thread: usize| {
        let access = &case.accesses[thread / LANES];
        let takes_part = !access.store && access.mask >> (thread % LANES) & 1 != 0;
        let bytes = if takes_part { access.shape.bytes() } else { 0 };
        all[16 * thread..16 * thread + bytes].to_vec()
    };
    Ok(Outcome {
        fault: None,
        race,
        unwritten,
        memory,
        out: (0..2 * LANES).map(loaded_by).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn accesses_do_what_their_lanes_do(case in case()) {
        let (got, mut want) = (run(&case)?, model(&case));
        if want.race || case.space == Space::Shared {
            // Shared memory is seen by what is loaded; a race may leave anything.
            want.memory.clone_from(&got.memory);
        }
        if want.race {
            want.out.clone_from(&got.out);
            want.unwritten = got.unwritten;
        }
        prop_assert_eq!(got, want);
    }
}
