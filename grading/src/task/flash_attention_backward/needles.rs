//! Each type and head size of its own.

use super::cases::{call, gradient};
use crate::submission::Call;
use crate::task::Check;
use crate::task::attention::needles::{Pass, checks as of};
use crate::task::attention::{Draft, mixed};
use reference::cases::Rng;

/// Two keys share most of a row's weight, and few rows have a gradient at all.
fn pointed(draft: &mut Draft, rng: &mut Rng) -> Call {
    draft.point(2, rng.choose(&[4.0, 10.0]), rng);
    let mut d_o = gradient(draft, rng);
    let (turn, every) = (rng.below(8), rng.choose(&[1, 3, 8]));
    let rows = d_o.chunks_mut(draft.shape.head_size).enumerate();
    for (_, row) in rows.filter(|(n, _)| (n + turn) % every != 0) {
        row.fill(0.0);
    }
    call(draft, &d_o)
}

/// NaN in one tensor: in the k of a head they would reach every gradient of its keys, and hide what
/// those in q or do do there. Now and then all of a head.
fn odd(draft: &mut Draft, rng: &mut Rng) -> Call {
    let mut d_o = gradient(draft, rng);
    let tensor = rng.choose(&["k", "q", "do"]);
    let mut spots = draft.scattered(&[tensor], rng);
    let of_values = draft.scattered(&["v"], rng);
    spots.extend(of_values.into_iter().filter(|_| rng.chance(0.1)));
    if tensor != "do" && rng.chance(0.3) {
        draft.flood(tensor, rng);
    }
    mixed::spoilt(&spots, draft, &mut d_o, rng, call)
}

pub(super) fn checks() -> Vec<Check> {
    of(Pass {
        call: |draft, rng| {
            let d_o = gradient(draft, rng);
            call(draft, &d_o)
        },
        pointed,
        odd,
        packed: "backward-packed",
    })
}
