//! Which known mistake a wrong answer looks like.
//!
//! The plain implementation answers the same call with each mistake, and the one whose errors agree
//! with those that were seen in the most elements is named. What a mistake does can depend on how
//! long a tile is (a last tile that is not masked adds as many keys as it lacks), and a submission's
//! tiles are its own: when nothing fits, the usual lengths are tried.

use super::{Judged, Mistake, Oracle, Task, Way};
use crate::submission::Call;
use crate::verdict::Diagnosis;
use std::time::{Duration, Instant};

/// Below this share of common errors a known mistake is not named: half is what one output of two
/// gives, whatever is wrong in the other.
const RECOGNISED: f64 = 0.75;

/// More than these fitting equally well say nothing: everything is NaN, or the case is too small.
const MOST_NAMED: usize = 3;

/// From this share on nothing better is looked for.
const CERTAIN: f64 = 0.95;

/// Lengths of tiles that kernels have, the commonest first.
const TILES: [usize; 8] = [32, 128, 16, 64, 256, 1024, 8, 512];

/// What looking for a length may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The known mistake whose answer to the same call has most of the same errors.
pub(super) fn diagnose(
    task: &Task,
    call: &Call,
    oracle: &dyn Oracle,
    seen: &Judged,
) -> Option<Diagnosis> {
    let answer = |way: Way| Some(oracle.judge(&(task.honest)(call, &way).ok()?));
    let mistakes = task.mistakes.iter().filter(|mistake| !mistake.is_near());
    let answers: Vec<(&Mistake, Judged)> = mistakes
        .filter_map(|mistake| Some((mistake, answer(mistake.way())?)))
        .collect();
    let mut fits = Fits::default();
    for (mistake, theirs) in &answers {
        fits.offer(mistake, None, seen.agreement(theirs));
    }
    let started = Instant::now();
    for tile in TILES {
        for (mistake, usual) in &answers {
            if fits.best >= CERTAIN || started.elapsed() > PATIENCE {
                return fits.named();
            }
            let way = Way {
                tile: Some(tile),
                ..mistake.way()
            };
            let theirs = answer(way).filter(|theirs| usual.agreement(theirs) < 1.0);
            if let Some(theirs) = theirs {
                fits.offer(mistake, Some(tile), seen.agreement(&theirs));
            }
        }
    }
    fits.named()
}

/// The mistakes that fit best.
#[derive(Default)]
struct Fits<'a> {
    best: f64,
    equal: Vec<(&'a Mistake, Option<usize>)>,
}

impl<'a> Fits<'a> {
    fn offer(&mut self, mistake: &'a Mistake, tile: Option<usize>, agreement: f64) {
        if agreement < RECOGNISED || agreement < self.best {
            return;
        }
        if agreement > self.best {
            self.best = agreement;
            self.equal.clear();
        }
        if self
            .equal
            .iter()
            .all(|(known, _)| known.name != mistake.name)
        {
            self.equal.push((mistake, tile));
        }
    }

    fn named(self) -> Option<Diagnosis> {
        let ((mistake, tile), others) = self.equal.split_first()?;
        (self.equal.len() <= MOST_NAMED).then(|| Diagnosis {
            mistake: mistake.name.to_owned(),
            looks_like: mistake.says.to_owned(),
            mend: mistake.mend.to_owned(),
            tile: *tile,
            also: others.iter().map(|(m, _)| m.name.to_owned()).collect(),
            agreement: self.best,
        })
    }
}
