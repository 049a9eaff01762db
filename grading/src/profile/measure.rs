//! Timing a rung on a device.
//!
//! ```text
//! as many copies of inputs and outputs as the rotation asks for, each with the same numbers
//! warm-up runs, over the copies in turn
//! the answer of one run is judged by the oracle
//! until there are enough times: outputs spoilt; each copy run once, timed; each copy's outputs
//!                               must have the bits of the answer that was judged
//! ```
//! So every timed output is held against the oracle. Those of the one rung that does not give the same
//! bits on every run are judged one by one.

use super::judge::Judgement;
use super::ready::{Ready, ready};
use super::{ProfileError, judge};
use crate::submission::{Call, Failure, Named};
use kernels_host::Device;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How something is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Runs before the first that is timed.
    pub warm_up: usize,
    /// Runs that are timed.
    pub runs: usize,
    /// Bytes of inputs and outputs that runs rotate through, so that none finds its own in a cache.
    pub rotate: u64,
}

impl Plan {
    /// On a GPU: many times its last-level cache.
    pub const GPU: Plan = Plan {
        warm_up: 10,
        runs: 50,
        rotate: 512 << 20,
    };

    /// Copies of a call of so many bytes.
    pub fn copies(&self, bytes: u64) -> usize {
        self.rotate.div_ceil(bytes.max(1)).clamp(1, 64) as usize
    }
}

/// What was timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Half of the runs took no longer.
    pub median_us: f64,
    /// A tenth of them took no longer.
    pub p10_us: f64,
    /// Nine tenths of them took no longer.
    pub p90_us: f64,
    /// Runs.
    pub runs: usize,
    /// Copies of inputs and outputs that they went through in turn.
    pub input_copies: usize,
    /// What the oracle says of what they all wrote.
    pub judged: Judgement,
}

impl Timed {
    fn of(mut times: Vec<Duration>, input_copies: usize, judged: Judgement) -> Timed {
        times.sort();
        // The nearest rank: the least time that so many tenths of the runs do not exceed.
        let rank = |tenths: usize| {
            let at = (times.len() * tenths).div_ceil(10).clamp(1, times.len()) - 1;
            times[at].as_secs_f64() * 1e6
        };
        Timed {
            median_us: rank(5),
            p10_us: rank(1),
            p90_us: rank(9),
            runs: times.len(),
            input_copies,
            judged,
        }
    }
}

/// Times a rung on a device.
///
/// # Errors
/// When it does not run, its answer is wrong, or a timed run answers with other bits.
pub fn measure(
    device: &Arc<dyn Device>,
    call: &Call,
    rung: &str,
    plan: Plan,
) -> Result<Timed, ProfileError> {
    let count = plan.copies(call.compulsory_bytes());
    let mut copies: Vec<Box<dyn Ready>> = Vec::new();
    for _ in 0..count {
        copies.push(ready(call, rung, device)?);
    }
    for run in 0..plan.warm_up.max(1) {
        copies[run % count].run()?;
    }
    device.synchronize()?;
    let answer = copies[0].outputs()?;
    let mut judged = judge::judge_at_scale(call, &answer)?;
    if let Some(why) = &judged.wrong {
        return Err(wrong(format!(
            "{rung} is wrong, so its time says nothing: {why}"
        )));
    }
    let mut times = Vec::new();
    while times.len() < plan.runs.max(1) {
        let round = count.min(plan.runs.max(1) - times.len());
        let round = &mut copies[..round];
        for copy in round.iter_mut() {
            copy.spoil()?;
        }
        device.synchronize()?;
        for copy in round.iter_mut() {
            times.push(device.time(&mut || copy.run())?);
        }
        for copy in round.iter() {
            let outputs = copy.outputs()?;
            if same(&outputs, &answer) {
                continue;
            }
            if copy.repeats() {
                return Err(wrong(format!(
                    "a timed run of {rung} wrote other bits than the one that was judged"
                )));
            }
            let again = judge::judge_at_scale(call, &outputs)?;
            if let Some(why) = again.wrong {
                return Err(wrong(format!("a timed run of {rung} is wrong: {why}")));
            }
            judged.worst = judged.worst.max(again.worst);
        }
    }
    Ok(Timed::of(times, count, judged))
}

fn wrong(why: String) -> ProfileError {
    Failure::Fault(why).into()
}

fn same(a: &[Named], b: &[Named]) -> bool {
    let bytes = |all: &[Named]| {
        all.iter()
            .map(|one| one.tensor.bytes().len())
            .sum::<usize>()
    };
    bytes(a) == bytes(b)
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.tensor.bytes() == b.tensor.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let times = (1..=50).rev().map(Duration::from_micros).collect();
        let judged = Judgement {
            elements: 1,
            worst: 0.5,
            wrong: None,
            sampled: false,
        };
        let timed = Timed::of(times, 3, judged.clone());
        let ranks = [timed.p10_us, timed.median_us, timed.p90_us];
        assert_eq!(ranks.map(f64::round), [5.0, 25.0, 45.0]);
        let one = Timed::of(vec![Duration::from_micros(7)], 1, judged);
        assert_eq!((one.p10_us, one.p90_us), (one.median_us, one.median_us));
    }

    #[test]
    fn inputs_rotate_past_the_cache() {
        assert_eq!(Plan::GPU.copies(1), 64);
        assert_eq!(Plan::GPU.copies(100 << 20), 6);
        assert_eq!(Plan::GPU.copies(1 << 40), 1);
    }
}
