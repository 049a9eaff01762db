//! A fixed sample of the attention campaign (`examples/calibrate_attention.rs`): every honest order
//! of summation passes, every mistake is found in every case.

#[path = "../calibration/attention/mod.rs"]
mod calibration;

use calibration::campaign::{honest_case, wrong_case};
use calibration::tally::Tally;
use rayon::prelude::*;

fn run(cases: u64, case: fn(u64, &mut Tally)) -> Tally {
    (0..cases)
        .into_par_iter()
        .fold(Tally::default, |mut tally, seed| {
            case(seed, &mut tally);
            tally
        })
        .reduce(Tally::default, Tally::merge)
}

#[test]
fn honest_implementations_pass_and_use_their_bounds() {
    let tally = run(400, honest_case);
    tally.print();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    // Five outputs, three types, five orders and tensor cores for 16 bits.
    assert_eq!(tally.ratios.len(), 5 * (5 + 6 + 6));
    for (key, ratios) in &tally.ratios {
        // Not a thousand times looser than what is typical.
        let median = ratios.quantile(0.5).unwrap();
        assert!(median >= 1e-3, "{key}: median of error ÷ bound is {median}");
    }
}

#[test]
fn no_mistake_passes() {
    let tally = run(40, wrong_case);
    assert!(tally.wrong_passed.is_empty(), "{:#?}", tally.wrong_passed);
    assert_eq!(
        tally.wrong_tried.len(),
        10 + 9 + 5,
        "{:?}",
        tally.wrong_tried.keys()
    );
    assert!(tally.wrong_tried.values().all(|&tried| tried > 0));
}
