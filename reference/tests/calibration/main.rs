//! A fixed sample of the calibration campaign (`examples/calibrate.rs` runs the whole of it).

#[path = "../../calibration/mod.rs"]
mod calibration;

use calibration::{FAMILIES, campaign};

/// Cases of each family: a few seconds altogether.
const SAMPLE: u64 = 300;

#[test]
fn honest_implementations_pass_and_known_wrong_answers_do_not() {
    let mut broken = Vec::new();
    for (name, trial) in FAMILIES {
        // Not the campaign's first seeds.
        let report = campaign(trial, 1 << 40, SAMPLE);
        assert!(report.answers > 0, "{name}: nothing was compared");
        if report.failures > 0 || !report.without_margin.is_empty() {
            broken.push(format!("{name}: {report}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
