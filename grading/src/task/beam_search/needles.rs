//! Steps in which few logits decide, anywhere in their rows: the 2K best of one beam, each of which
//! counts; parts of a row of very different weight; lengths and exponents at their ends.

use super::cases::{Real, Step};
use crate::submission::Call;
use crate::task::{Budget, Check, Dims, Kind};
use half::{bf16, f16};
use reference::cases::Rng;

/// How the best logits of a row lie in it, from the best down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Anywhere,
    Rising,
    Falling,
    /// One behind the other, from anywhere on.
    Together,
    /// So many columns apart: in one lane, one vector, one thread.
    Apart(usize),
}

const LAYOUTS: [Layout; 10] = [
    Layout::Anywhere,
    Layout::Anywhere,
    Layout::Rising,
    Layout::Falling,
    Layout::Together,
    Layout::Apart(4),
    Layout::Apart(8),
    Layout::Apart(32),
    Layout::Apart(128),
    Layout::Apart(256),
];

impl Layout {
    /// `count` columns of so many.
    fn columns(self, rng: &mut Rng, vocabulary: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..vocabulary).collect();
        match self {
            Layout::Anywhere => rng.shuffle(&mut all),
            Layout::Rising => all.reverse(),
            Layout::Falling => {}
            Layout::Together => all.rotate_left(rng.below(vocabulary)),
            Layout::Apart(by) => {
                let (by, first) = (by.min(vocabulary), rng.below(vocabulary));
                all = (0..by)
                    .flat_map(|from| (from..vocabulary).step_by(by))
                    .map(|column| (column + first) % vocabulary)
                    .collect();
            }
        }
        all.truncate(count);
        all
    }
}

/// A row whose 2K best fall in steps of 1/8, or of less where they are many, from 4 on; what is not
/// among them lies well below, with ties, or is forbidden.
fn row<T: Real>(rng: &mut Rng, vocabulary: usize, beams: usize) -> Vec<T> {
    let odd = [f64::NAN, -f64::NAN, f64::NEG_INFINITY];
    let (spoilt, shift) = (rng.choose(&[0.0, 0.0, 0.3]), rng.choose(&[0.0, -2.0]));
    let mut row: Vec<f64> = (0..vocabulary)
        .map(|_| match rng.chance(spoilt) {
            true => rng.choose(&odd),
            false => shift - 14.0 + rng.below(17) as f64 / 8.0,
        })
        .collect();
    let count = vocabulary.min(2 * beams + rng.below(3));
    let step = rng
        .choose(&[0.0_f64, 1.0 / 16.0, 1.0 / 8.0])
        .min(10.0 / count as f64);
    let columns = rng.choose(&LAYOUTS).columns(rng, vocabulary, count);
    for (rank, column) in columns.into_iter().enumerate() {
        row[column] = shift + 4.0 - step * rank as f64;
    }
    if rng.chance(0.25) {
        // Nothing but ties.
        row.fill(shift);
    }
    row.into_iter().map(T::from_f64).collect()
}

/// One beam of each item lives, so that all K kept are among its 2K best; where up to K of those are
/// EOS tokens that do not count and α is 1, they are the other half.
fn one_beam<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let (items, beams, vocabulary) = (dims.get("B"), dims.get("K"), dims.get("V").max(2));
    let mut logits = vec![T::from_f64(f64::NAN); items * beams * vocabulary];
    let alive: Vec<usize> = (0..items)
        .map(|item| {
            let any = rng.below(beams);
            item * beams + rng.choose(&[0, beams - 1, any])
        })
        .collect();
    for beam in &alive {
        let row = row(rng, vocabulary, beams);
        logits[beam * vocabulary..(beam + 1) * vocabulary].copy_from_slice(&row);
    }
    let mut step = Step::new(beams, vocabulary, logits);
    for (beam, acc) in step.acc.iter_mut().enumerate() {
        if !alive.contains(&beam) {
            *acc = f32::NEG_INFINITY;
        }
    }
    if rng.chance(0.5) {
        // The likeliest of the first item's beam.
        let row = step.row(alive[0]).to_vec();
        let mut tokens: Vec<usize> = (0..vocabulary)
            .filter(|t| !row[*t].to_f64().is_nan())
            .collect();
        tokens.sort_by(|a, b| row[*b].to_f64().total_cmp(&row[*a].to_f64()));
        let most = rng.choose(&[1, beams.div_ceil(2), beams]).min(64);
        step.rules.eos = tokens
            .into_iter()
            .take(most)
            .map(|token| token as i32)
            .collect();
        step.rules.count_eos = false;
        step.rules.alpha = 1.0;
        // Whether the beams may end yet.
        step.rules.min_length = rng.choose(&[0, 4]);
        for beam in alive {
            step.acc[beam] = -4.0;
            step.length[beam] = 1;
        }
    }
    step
}

/// Stretches of a row whose numbers differ by a few units or are all forbidden, so that each part
/// that a row is cut into weighs another share.
fn stretches<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let mut step = one_beam::<T>(dims, rng);
    let vocabulary = step.vocabulary;
    for beam in 0..step.acc.len() {
        if step.acc[beam] == f32::NEG_INFINITY {
            continue;
        }
        let each = vocabulary.div_ceil(rng.between(1, 40)).max(1);
        for stretch in step.row(beam).chunks_mut(each) {
            let level = rng.choose(&[f64::NEG_INFINITY, -6.0, -3.0, 0.0, 0.0, 2.0]);
            for logit in stretch {
                // The row's best stay.
                if logit.to_f64() < -8.0 {
                    *logit = T::from_f64(level + rng.below(9) as f64 / 4.0);
                }
            }
        }
    }
    step
}

/// Beams with one row between them, and few sums: their candidates tie across parents, dozens with the
/// one that is just kept or just not. The better sums may stand behind the worse ones.
fn twins<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let (items, beams, vocabulary) = (dims.get("B"), dims.get("K"), dims.get("V").max(2));
    let levels = rng.between(1, 4);
    let mut logits: Vec<T> = Vec::with_capacity(items * beams * vocabulary);
    for _ in 0..items {
        // So many of the best are equal, and of those behind them.
        let (first, second) = (rng.between(1, 2 * beams), rng.between(0, 2 * beams));
        let mut row: Vec<f64> = (0..vocabulary)
            .map(|rank| match rank {
                rank if rank < first => 3.0,
                rank if rank < first + second => 2.0,
                _ => rng.below(4) as f64 - 8.0,
            })
            .collect();
        if rng.chance(0.7) {
            rng.shuffle(&mut row);
        }
        let row: Vec<T> = row.into_iter().map(T::from_f64).collect();
        for _ in 0..beams {
            logits.extend_from_slice(&row);
        }
    }
    let mut step = Step::new(beams, vocabulary, logits);
    let rising = rng.chance(0.5);
    for (beam, acc) in step.acc.iter_mut().enumerate() {
        let level = match rising {
            true => (beams - 1 - beam % beams) * levels / beams,
            false => rng.below(levels),
        };
        *acc = -2.0 - level as f32;
    }
    for finished in &mut step.finished {
        *finished = u8::from(rng.chance(0.1));
    }
    step
}

/// Every beam's row has one token or two far above the others, at its head, at its tail or anywhere, and
/// each beam is kept through one of them: rows of an odd length begin at every address.
fn one_each<T: Real>(dims: &Dims, rng: &mut Rng) -> Step<T> {
    let (items, beams, vocabulary) = (dims.get("B"), dims.get("K"), dims.get("V").max(2));
    let mut logits = Vec::with_capacity(items * beams * vocabulary);
    for _ in 0..items * beams {
        let mut row: Vec<f64> = (0..vocabulary)
            .map(|_| rng.below(9) as f64 / 8.0 - 9.0)
            .collect();
        let at = match rng.below(4) {
            0 => rng.below(20),
            1 => (vocabulary - 1).saturating_sub(rng.below(20)),
            _ => rng.below(vocabulary),
        };
        row[at.min(vocabulary - 1)] = 6.0;
        if rng.chance(0.5) {
            row[rng.below(vocabulary)] = rng.choose(&[4.0, 5.0]);
        }
        logits.extend(row.into_iter().map(T::from_f64));
    }
    let mut step = Step::new(beams, vocabulary, logits);
    for acc in &mut step.acc {
        *acc = -2.0 - rng.below(16) as f32 / 8.0;
    }
    step
}

fn typed(
    rng: &mut Rng,
    dims: &Dims,
    [f32s, f16s, bf16s]: [fn(&Dims, &mut Rng) -> Call; 3],
) -> Option<Call> {
    Some(match rng.below(3) {
        0 => f32s(dims, rng),
        1 => f16s(dims, rng),
        _ => bf16s(dims, rng),
    })
}

fn leading(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    typed(
        rng,
        dims,
        [
            |dims, rng| one_beam::<f32>(dims, rng).call(),
            |dims, rng| one_beam::<f16>(dims, rng).call(),
            |dims, rng| one_beam::<bf16>(dims, rng).call(),
        ],
    )
}

fn tied(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    typed(
        rng,
        dims,
        [
            |dims, rng| twins::<f32>(dims, rng).call(),
            |dims, rng| twins::<f16>(dims, rng).call(),
            |dims, rng| twins::<bf16>(dims, rng).call(),
        ],
    )
}

fn each(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    typed(
        rng,
        dims,
        [
            |dims, rng| one_each::<f32>(dims, rng).call(),
            |dims, rng| one_each::<f16>(dims, rng).call(),
            |dims, rng| one_each::<bf16>(dims, rng).call(),
        ],
    )
}

fn uneven(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    typed(
        rng,
        dims,
        [
            |dims, rng| stretches::<f32>(dims, rng).call(),
            |dims, rng| stretches::<f16>(dims, rng).call(),
            |dims, rng| stretches::<bf16>(dims, rng).call(),
        ],
    )
}

/// Lengths at and around powers of two, none, and thousands; exponents of either sign.
fn lengths(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let mut step = Step::<f32>::normal(rng, dims, 2.0);
    step.rules.alpha = rng.choose(&[0.1, 0.6, 1.0, 3.0, -0.5, -1.0]);
    step.rules.eos = vec![rng.below(step.vocabulary) as i32];
    step.rules.count_eos = rng.chance(0.5);
    for length in &mut step.length {
        *length = rng.choose(&[
            0, 0, 1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 1000, 65_535, 1_000_003,
        ]);
    }
    for (beam, finished) in step.finished.iter_mut().enumerate() {
        *finished = u8::from(rng.chance(0.4));
        // 0 is the best sum there is.
        step.acc[beam] = rng.choose(&[0.0, -0.25, -3.0, -30.0, -1e4]);
    }
    Some(step.call())
}

pub(super) fn checks() -> Vec<Check> {
    let many = |rng: &mut Rng, _: Budget| {
        let beams = rng.choose(&[1, 2, 3, 8, 16, 17, 33, 64, 100]);
        let least = 2 * beams;
        let vocabulary = rng.choose(&[least, least + 1, least + 60, 700, 1300, 2500, 4400]);
        Dims::of([
            ("B", rng.choose(&[1, 1, 2])),
            ("K", beams),
            ("V", vocabulary.max(least) + rng.below(9) as u64),
        ])
    };
    let hundreds = |rng: &mut Rng, _: Budget| {
        let beams = rng.choose(&[256, 300, 512, 512]);
        Dims::of([
            ("B", 1),
            ("K", beams),
            ("V", 2 * beams + rng.below(1500) as u64),
        ])
    };
    let long = |rng: &mut Rng, budget: Budget| {
        // Of few beams a row is cut into many parts, of many into few.
        let quick = rng.choose(&[(17, 30_000), (64, 17_500)]);
        let full = rng.choose(&[
            (2, 150_000),
            (8, 40_000),
            (17, 60_000),
            (33, 20_000),
            (64, 17_500),
            (100, 18_000),
            (128, 17_500),
        ]);
        let (beams, vocabulary) = budget.pick(quick, full);
        Dims::of([
            ("B", 1),
            ("K", beams),
            ("V", vocabulary - rng.below(500) as u64),
        ])
    };
    let says = "one beam lives, and each of its 2K best tokens decides, wherever they lie";
    vec![
        Check::judged(Kind::Values, "one-beam", says, many, |dims, rng| {
            Some(one_beam::<f32>(dims, rng).call())
        })
        .cases(5, 14)
        .at("eos-set"),
        Check::judged(Kind::Level, "one-beam-16-bit", says, many, leading)
            .at("16-bit")
            .cases(8, 36),
        Check::judged(Kind::Level, "hundreds-of-beams", says, hundreds, leading)
            .at("large")
            .cases(1, 6),
        Check::judged(
            Kind::Level,
            "one-each",
            "one token of every beam's row decides, wherever the row begins and wherever it stands",
            |rng, _| {
                let vocabulary = rng.choose(&[33, 41, 67, 139, 523, 1291, 4111]);
                Dims::of([
                    ("B", 1),
                    ("K", rng.choose(&[16, 17, 31])),
                    ("V", vocabulary),
                ])
            },
            each,
        )
        .at("16-bit")
        .cases(6, 30),
        Check::judged(
            Kind::Level,
            "twins",
            "beams with the same row and few sums, whose candidates tie across parents",
            |rng, _| {
                let beams = rng.choose(&[2, 5, 16, 17, 31, 32, 32, 33, 64, 64, 100]);
                let vocabulary = rng.choose(&[beams, 2 * beams, 2 * beams + 30, 300]);
                Dims::of([("B", 1), ("K", beams), ("V", vocabulary)])
            },
            tied,
        )
        .at("large")
        .cases(6, 24),
        Check::judged(
            Kind::Level,
            "uneven-vocabulary",
            "stretches of a large vocabulary weigh very different shares, or nothing",
            long,
            uneven,
        )
        .at("large")
        .cases(2, 10),
        Check::judged(
            Kind::Level,
            "lengths",
            "lengths of 0, 1, around powers of two and of thousands; sums of 0",
            |rng, _| {
                let beams = rng.choose(&[2, 5, 9]);
                Dims::of([("B", 2), ("K", beams), ("V", 33)])
            },
            lengths,
        )
        .at("penalty")
        .cases(4, 12),
    ]
}
