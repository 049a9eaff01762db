//! Each type and head size of its own.

use super::cases::call;
use crate::submission::Call;
use crate::task::Check;
use crate::task::attention::needles::{Pass, checks as of};
use crate::task::attention::{Draft, Spot};
use reference::cases::Rng;

/// One key outweighs all others by more than an f32 can hold, or by less.
fn pointed(draft: &mut Draft, rng: &mut Rng) -> Call {
    draft.point(1, rng.choose(&[300.0, 300.0, 20.0]), rng);
    call(draft)
}

/// NaN in v, which a weight of 0 does not take away; now and then odd scores.
fn odd(draft: &mut Draft, rng: &mut Rng) -> Call {
    let mut spots = draft.scattered(&["v"], rng);
    let of_scores = draft.scattered(&["q", "k"], rng);
    spots.extend(of_scores.into_iter().filter(|_| rng.chance(0.2)));
    if rng.chance(0.3) {
        spots = spots.into_iter().map(Spot::infinite).collect();
    }
    if rng.chance(0.2) {
        draft.flood("v", rng);
    }
    for spot in &spots {
        spot.put(draft, &mut []);
    }
    let mut call = call(draft);
    for spot in &spots {
        spot.vary(&mut call, rng);
    }
    call
}

pub(super) fn checks() -> Vec<Check> {
    of(Pass {
        call: |draft, _| call(draft),
        pointed,
        odd,
        packed: "forward-packed",
    })
}
