//! Holds the bounds against honest implementations, over as many cases as asked for.
//!
//! `cargo run --release -p reference --example calibrate -- [CASES] [FAMILY…]`: 100000 cases of
//! every family unless told otherwise; families by any part of their name. Fails when an honest
//! answer is outside its bounds or a case has no null margin.
#![forbid(unsafe_code)]

#[path = "../calibration/mod.rs"]
mod calibration;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let cases = arguments.next_if(|a| a.parse::<u64>().is_ok());
    let cases = cases.and_then(|a| a.parse().ok()).unwrap_or(100_000);
    let wanted: Vec<String> = arguments.collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let (mut ran, mut right) = (0, true);
    for (name, trial) in calibration::FAMILIES
        .iter()
        .filter(|(name, _)| chosen(name))
    {
        let start = Instant::now();
        let report = calibration::campaign(*trial, 0, cases);
        println!("{name}: {report}  {:.1} s", start.elapsed().as_secs_f64());
        ran += 1;
        right &= report.failures == 0 && report.without_margin.is_empty();
    }
    if ran == 0 {
        eprintln!("no family is called like {wanted:?}");
    }
    if ran > 0 && right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
