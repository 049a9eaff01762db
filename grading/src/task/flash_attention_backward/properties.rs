//! What must hold between calls.

use super::cases::{call, drawn};
use crate::submission::{Call, Named};
use crate::task::attention::Draft;
use crate::task::{Check, Kind, Stop, fixed};
use crate::verdict::Verdict;

fn wrong(why: String) -> Stop {
    Verdict::wrong(why).into()
}

fn values(outputs: &[Named], at: usize) -> Vec<f64> {
    outputs[at].tensor.to_f64()
}

/// A call whose gradient of o is another call's, times a power of two.
fn scaled(call: &Call, factor: f64) -> Call {
    let mut scaled = call.clone();
    let d_o = scaled.inputs.iter_mut().find(|input| input.name == "do");
    let d_o = d_o.expect("every call has it");
    let numbers: Vec<f64> = d_o.tensor.to_f64().iter().map(|x| factor * x).collect();
    d_o.tensor = crate::task::attention::tensor(d_o.tensor.dtype(), d_o.tensor.shape(), &numbers);
    scaled
}

pub(super) fn properties() -> Vec<Check> {
    let small = || {
        fixed([
            ("B", 1),
            ("Hq", 2),
            ("Hkv", 2),
            ("Nq", 17),
            ("Nk", 40),
            ("D", 32),
        ])
    };
    vec![
        Check::new(
            Kind::Property,
            "linear-in-do",
            "with do twice as large every gradient is twice as large, to the bit",
            small(),
            |session, dims, rng| {
                let (draft, d_o) = drawn(Draft::dense(dims), rng);
                let once = call(&draft, &d_o);
                let first = session.judge(&once)?;
                let second = session.judge(&scaled(&once, 2.0))?;
                for (at, name) in ["dq", "dk", "dv"].iter().enumerate() {
                    let (a, b) = (values(&first, at), values(&second, at));
                    // Below f32's normal numbers doubling is not exact.
                    let tiny = f64::from(f32::MIN_POSITIVE) * 1e3;
                    let differs = |(a, b): (&f64, &f64)| a.abs() > tiny && 2.0 * a != *b;
                    if let Some(i) = a.iter().zip(&b).position(differs) {
                        return Err(wrong(format!(
                            "{name}[{i}] is {} for do and {} for 2·do",
                            a[i], b[i]
                        )));
                    }
                }
                Ok(())
            },
        ),
        Check::new(
            Kind::Property,
            "constant-added-to-keys",
            "Σⱼ ds = 0 in every row: adding one vector to every key leaves dq right, though every \
             score moves",
            small(),
            |session, dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                session.judge(&call(&draft, &d_o))?;
                let d = dims.get("D");
                // A multiple of 1/4, so that the sums of the keys stay near what they were.
                let shift: Vec<f64> = (0..d).map(|_| rng.below(5) as f64 / 4.0).collect();
                for k in draft.k.chunks_mut(d) {
                    k.iter_mut().zip(&shift).for_each(|(k, s)| *k += s);
                }
                session.judge(&call(&draft, &d_o)).map(drop)
            },
        ),
        Check::new(
            Kind::Property,
            "no-gradient-no-change",
            "where do is 0 every gradient is 0",
            small(),
            |session, dims, rng| {
                let (draft, d_o) = drawn(Draft::dense(dims), rng);
                let zeros = vec![0.0; d_o.len()];
                let call = call(&draft, &zeros);
                session.without_margin().judge(&call).map(drop)
            },
        ),
        Check::new(
            Kind::Property,
            "future-poisoned",
            "with a causal mask the dq of row i ignores keys after it: NaN there changes no bit",
            fixed([
                ("B", 1),
                ("Hq", 1),
                ("Hkv", 1),
                ("Nq", 50),
                ("Nk", 50),
                ("D", 32),
            ]),
            |session, dims, rng| {
                let (mut draft, d_o) = drawn(Draft::dense(dims), rng);
                draft.options.causal = true;
                let once = call(&draft, &d_o);
                let clean = session.judge(&once)?;
                let (d, n) = (dims.get("D"), dims.get("Nk"));
                let from = n / 2;
                let mut poisoned = once.clone();
                for input in &mut poisoned.inputs {
                    if input.name == "k" || input.name == "v" {
                        let mut numbers = input.tensor.to_f64();
                        numbers[from * d..].fill(f64::NAN);
                        let (dtype, shape) = (input.tensor.dtype(), input.tensor.shape().to_vec());
                        input.tensor = crate::task::attention::tensor(dtype, &shape, &numbers);
                    }
                }
                let outputs = session.call(&poisoned)?;
                let seen = dims.get("Nq").saturating_sub(n - from) * d;
                let (a, b) = (values(&clean, 0), values(&outputs, 0));
                let pairs = a.iter().zip(&b).take(seen);
                match pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits()) {
                    None => Ok(()),
                    Some(i) => Err(wrong(format!(
                        "dq of row {} changed when keys from {from} on became NaN",
                        i / d
                    ))),
                }
            },
        ),
    ]
}
