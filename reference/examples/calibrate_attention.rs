//! The calibration campaign of the attention oracles, by hand:
//!
//! ```text
//! cargo run --release -p reference --example calibrate_attention -- [cases] [first seed]
//! ```
//!
//! Prints the distribution of error ÷ bound per output, type and order, then every failure. Its
//! result is recorded in `CALIBRATION.md`.

#[path = "../calibration/attention/mod.rs"]
mod calibration;

use calibration::campaign::{honest_case, wrong_case};
use calibration::tally::Tally;
use rayon::prelude::*;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|x| x.parse::<u64>().expect("a number"));
    let cases = arguments.next().unwrap_or(100_000);
    let first = arguments.next().unwrap_or(0);
    let campaign = |count: u64, case: fn(u64, &mut Tally)| {
        (first..first + count)
            .into_par_iter()
            .fold(Tally::default, |mut tally, seed| {
                case(seed, &mut tally);
                tally
            })
            .reduce(Tally::default, Tally::merge)
    };
    let honest = campaign(cases, honest_case);
    honest.print();
    let wrong = campaign(cases.div_ceil(100), wrong_case);
    wrong.print();
    if !honest.failures.is_empty() || !wrong.wrong_passed.is_empty() {
        std::process::exit(1);
    }
}
