//! Each type and head size of its own.

use super::cases::call;
use crate::submission::Call;
use crate::task::Check;
use crate::task::attention::needles::{Pass, checks as of};
use crate::task::attention::{Draft, Spot, mixed};
use reference::cases::Rng;

/// One key outweighs all others by more than an f32 can hold, or by less.
fn pointed(draft: &mut Draft, rng: &mut Rng) -> Call {
    draft.point(1, rng.choose(&[300.0, 300.0, 20.0]), rng);
    call(draft)
}

/// NaN in v, which a weight of 0 does not take away; or odd scores, but not both: what a key of score
/// −inf and a value of NaN come to is left open.
fn odd(draft: &mut Draft, rng: &mut Rng) -> Call {
    let of_scores = rng.chance(0.2);
    let tensors = if of_scores { ["q", "k"] } else { ["v", "v"] };
    let mut spots = draft.scattered(&tensors, rng);
    if of_scores && rng.chance(0.3) {
        spots = spots.into_iter().map(Spot::infinite).collect();
    }
    if !of_scores && rng.chance(0.2) {
        draft.flood("v", rng);
    }
    mixed::spoilt(&spots, draft, &mut [], rng, |draft, _| call(draft))
}

pub(super) fn checks() -> Vec<Check> {
    of(Pass {
        call: |draft, _| call(draft),
        pointed,
        odd,
        packed: "forward-packed",
    })
}
