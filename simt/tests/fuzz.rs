//! Mutants of real PTX, through the whole machine: none may panic, hang or eat memory. Which
//! mutants are made depends on a seed only, so a failure repeats.

mod support;

use simt::{Arg, Launch, Machine, Options, compile};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Mutants of each run, and the longest that one of them may take: all together need seconds, a
/// loaded host may stop for some.
const MUTANTS: u64 = 600;
const LONGEST: Duration = Duration::from_secs(60);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What takes the place of a token: extremes, and names of everything.
const TOKENS: &[&str] = &[
    "0",
    "-1",
    "4294967295",
    "18446744073709551615",
    "0x80000000",
    "1048577",
    "65536",
    "%r1",
    "%rd1",
    "%p1",
    "%tid.x",
    "[%rd1]",
    "[%r1+-8]",
    "{%r1, %r2}",
    "_",
    ";",
    ",",
    "{",
    "}",
    "(",
    ")",
    ".u32",
    ".b64",
    ".f16x2",
    ".pred",
    ".shared",
    ".global",
    ".local",
    ".v4",
    ".sync",
    "ret",
    "exit",
    "trap",
    "bra",
    "call",
    "bar.sync 0;",
    "@%p1",
    "@!%p2",
    "0f7F800000",
    "0d7FF0000000000000",
    "barrier.cluster.arrive;",
    "barrier.cluster.wait;",
    "mapa.u64 %rd1, %rd1, 1;",
];

/// One to four changes: tokens dropped, doubled, exchanged or replaced; lines moved.
fn mutant(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .map(|l| l.split_inclusive([' ', '\t', ',']).collect())
        .collect();
    for _ in 0..1 + random.below(4) {
        let at = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(7) {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2 => {
                let line = lines[at].clone();
                lines.insert(other, line);
            }
            change => {
                let from = random.pick(random_line(&lines, other));
                let line = &mut lines[at];
                let k = random.below(line.len());
                match (change, line.get(k).is_some()) {
                    (3, true) => drop(line.remove(k)),
                    (4, true) => line[k] = from,
                    (5, true) => line[k] = random.pick(TOKENS),
                    _ => line.insert(k.min(line.len()), random.pick(TOKENS)),
                }
            }
        }
        if lines.is_empty() {
            lines.push(Vec::new());
        }
    }
    let lines: Vec<String> = lines.iter().map(|l| l.concat()).collect();
    lines.join("\n")
}

fn random_line<'a, 't>(lines: &'a [Vec<&'t str>], at: usize) -> &'a [&'t str] {
    match lines[at].as_slice() {
        [] => &[""],
        line => line,
    }
}

fn run(text: &str) {
    let Ok(validated) = compile(text) else { return };
    let mut machine = Machine::new(1 << 22);
    let Ok(loaded) = machine.load(&validated) else {
        return;
    };
    let buffer = machine.allocate_zeroed(4096, "buffer").expect("fits");
    let programs: Vec<_> = validated.programs().collect();
    for program in programs.into_iter().take(2) {
        let entry = loaded.module().entry(program.name());
        let params = entry.map(|e| e.params().to_vec()).unwrap_or_default();
        let args: Vec<Arg> = (params.iter())
            .map(|p| match p.size() {
                8 => Arg::Bytes(buffer.to_le_bytes().to_vec()),
                size => Arg::Bytes(vec![1; size.min(1 << 20) as usize]),
            })
            .collect();
        let launch = Launch {
            grid: [2, 1, 1],
            block: [64, 1, 1],
            dynamic_shared: 1024,
            ..Launch::new(program.name(), &args)
        };
        let options = Options {
            max_steps: 20_000,
            ..Options::default()
        };
        // Any outcome will do, as long as there is one.
        let _ = machine.launch(&loaded, &launch, &options);
    }
}

#[test]
fn mutants_of_real_programs_end() {
    let mut texts = Vec::new();
    for folder in ["ops", "foreign", "check"] {
        for path in support::files(&support::folder(folder), "ptx") {
            let text = std::fs::read_to_string(&path).expect("readable");
            if text.len() < 40_000 {
                texts.push((path, text));
            }
        }
    }
    let mut slowest = (Duration::ZERO, 0);
    for seed in 0..MUTANTS {
        let mut random = Random(seed);
        let (path, text) = &texts[random.below(texts.len())];
        let text = mutant(text, &mut random);
        let start = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| run(&text)));
        let what = || format!("mutant {seed} of {}:\n{text}", path.display());
        assert!(ended.is_ok(), "a panic: {}", what());
        slowest = slowest.max((start.elapsed(), seed));
        assert!(slowest.0 < LONGEST, "too long: {}", what());
    }
    println!("the slowest was mutant {} with {:?}", slowest.1, slowest.0);
}

#[test]
fn text_cannot_ask_for_more_memory_than_it_is_worth() {
    let head = ".version 8.0\n.target sm_90\n.address_size 64\n";
    let registers = ".reg .b64 %rd<1048576>;\n".repeat(200);
    let nested = format!("{}{}", "{ .reg .b32 %r<60000>; ".repeat(60), "}".repeat(60));
    let wide = ".local .align 8 .b8 d[16777215];\n".repeat(50);
    for body in [registers, nested, wide] {
        let text = format!("{head}.entry k() {{\n{body} ret; }}");
        assert!(compile(&text).is_err(), "{}", &body[..40]);
    }
}
