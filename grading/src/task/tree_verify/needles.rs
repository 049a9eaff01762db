//! Items in which single numbers decide: of each row on the path the greatest logit, which may stand
//! anywhere and is the least of the rows around it; of each node's children one, anywhere among nodes
//! that only look like it.

use super::walks::Item;
use crate::tensor::DType;
use half::{bf16, f16};
use reference::cases::Rng;

/// What a row's greatest logit stands above: its level + 8, while the others stay within
/// level ± 4. Levels are 16 apart, so that a number of a higher row is above all of a lower one,
/// and bf16 holds all of them.
const LEVELS: [f64; 3] = [-16.0, 0.0, 16.0];

/// How rows are spoilt, apart from their greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spoilt {
    /// The share of numbers that are NaN or −inf.
    pub(super) share: f64,
    /// Whether the greatest may be there more than once, the first of them to be taken.
    pub(super) ties: bool,
    /// The type whose extreme numbers some rows are made of, if any are.
    pub(super) extremes: Option<DType>,
}

impl Spoilt {
    /// Not at all.
    pub(super) const NOT: Spoilt = Spoilt {
        share: 0.0,
        ties: false,
        extremes: None,
    };
}

/// The greatest and the least positive number of a type.
fn range(dtype: DType) -> [f64; 2] {
    match dtype {
        DType::F16 => [f16::MAX.to_f64(), 2.0_f64.powi(-24)],
        DType::Bf16 => [bf16::MAX.to_f64(), 2.0_f64.powi(-133)],
        _ => [f32::MAX.into(), 2.0_f64.powi(-149)],
    }
}

/// A row whose one finite number is an extreme one.
pub(super) fn extreme(rng: &mut Rng, vocabulary: usize, dtype: DType) -> (Vec<f64>, usize) {
    let [most, least] = range(dtype);
    let odd = [f64::NAN, -f64::NAN, f64::NEG_INFINITY];
    let mut row: Vec<f64> = (0..vocabulary).map(|_| rng.choose(&odd)).collect();
    let best = rng.below(vocabulary);
    row[best] = rng.choose(&[most, -most, least, -least, -0.0]);
    (row, best)
}

/// A row and its token.
fn row(rng: &mut Rng, vocabulary: usize, spoilt: Spoilt) -> (Vec<f64>, usize) {
    if let Some(dtype) = spoilt.extremes.filter(|_| rng.chance(0.15)) {
        return extreme(rng, vocabulary, dtype);
    }
    let level = rng.choose(&LEVELS);
    let odd = [f64::NAN, -f64::NAN, f64::NEG_INFINITY];
    let mut row: Vec<f64> = (0..vocabulary)
        .map(|_| match rng.chance(spoilt.share) {
            true => rng.choose(&odd),
            false => level + rng.below(65) as f64 / 8.0 - 4.0,
        })
        .collect();
    // Anywhere, and the ends of a row more often than that.
    let best = match rng.below(5) {
        0 => rng.below(vocabulary.min(9)),
        1 => vocabulary - 1 - rng.below(vocabulary.min(9)),
        _ => rng.below(vocabulary),
    };
    row[best] = level + 8.0;
    if spoilt.ties {
        for _ in 0..rng.below(5) {
            // In the same vector, in a lane that a butterfly meets, or anywhere behind.
            let apart = match rng.below(3) {
                0 => rng.between(1, 7),
                1 => 1 << rng.between(1, 11),
                _ => rng.below(vocabulary),
            };
            let later = (best + apart).min(vocabulary - 1);
            row[later] = level + 8.0;
        }
        // −0 and +0 are equal.
        if level == -16.0 && rng.chance(0.5) {
            row.iter_mut().for_each(|x| *x += 8.0);
            let zero = |x: &&mut f64| **x == 0.0;
            row.iter_mut()
                .filter(zero)
                .for_each(|x| *x = rng.choose(&[0.0, -0.0]));
        }
    }
    (row, best)
}

/// A tree of so many nodes through which the target goes `steps` steps: its path's nodes stand
/// anywhere, and so do their siblings, of which later ones may have the same token; other nodes have
/// tokens that the target takes elsewhere.
pub(super) fn needles(
    rng: &mut Rng,
    [nodes, vocabulary, steps]: [usize; 3],
    spoilt: Spoilt,
) -> Item {
    let mut path: Vec<usize> = (0..nodes).collect();
    rng.shuffle(&mut path);
    path.truncate(steps);
    path.sort_unstable();
    let (mut logits, mut best) = (Vec::new(), Vec::new());
    for _ in 0..=nodes {
        let (row, token) = row(rng, vocabulary, spoilt);
        logits.extend(row);
        best.push(token as i32);
    }
    // The row that decides about step `at`.
    let deciding = |at: usize| at.checked_sub(1).map_or(0, |above| path[above] + 1);
    let node_above = |at: usize| at.checked_sub(1).map_or(-1, |above| path[above] as i32);
    let (mut token, mut parent) = (Vec::new(), Vec::new());
    let mut gone = 0;
    for i in 0..nodes {
        if path.get(gone) == Some(&i) {
            token.push(best[deciding(gone)]);
            parent.push(node_above(gone));
            gone += 1;
            continue;
        }
        // A twin of a node that was taken, where a search by strides meets it in a lane before: some
        // power of two short of a stride further on.
        let twin = (0..gone).find(|at| {
            let apart = i - path[*at];
            let short = apart.next_multiple_of(128) - apart;
            short.is_power_of_two() || short == 0
        });
        if let Some(at) = twin.filter(|_| rng.chance(0.5)) {
            parent.push(node_above(at));
            token.push(best[deciding(at)]);
            continue;
        }
        let at = rng.below(gone + 1);
        let wanted = best[deciding(at)];
        let other = |rng: &mut Rng| {
            let step = rng.between(1, vocabulary - 1) as i32;
            (wanted + step) % vocabulary as i32
        };
        // Beside the path before the node that is taken: another token. After it: any.
        let strays: Vec<usize> = (0..i).filter(|j| !path.contains(j)).collect();
        if strays.is_empty() || rng.chance(0.5) {
            let after = at < gone;
            parent.push(node_above(at));
            token.push(if after && rng.chance(0.5) {
                wanted
            } else {
                other(rng)
            });
        } else {
            parent.push(rng.choose(&strays) as i32);
            token.push(wanted);
        }
    }
    Item {
        token,
        parent,
        logits,
    }
}
