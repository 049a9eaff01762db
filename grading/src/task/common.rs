//! The checks that every task has.

use super::check::{Budget, Check, Kind, Stop};
use super::{Dims, Session};
use crate::submission::{Call, Named};
use crate::verdict::{Because, Verdict};
use reference::cases::Rng;
use reference::numbers::Bounded;

/// How a task draws and makes an ordinary call.
#[derive(Clone, Copy)]
pub struct Ordinary {
    /// The sizes.
    pub draw: fn(&mut Rng, Budget) -> Dims,
    /// The call.
    pub make: fn(&Dims, &mut Rng) -> Option<Call>,
    /// Sizes at which scratch memory, bytes and operations are counted: large enough that what is
    /// touched once outweighs the rest.
    pub counted: fn(&mut Rng, Budget) -> Dims,
}

/// Contract, determinism, memory and cost.
pub fn checks(ordinary: Ordinary) -> Vec<Check> {
    let Ordinary {
        draw,
        make,
        counted,
    } = ordinary;
    let call = move |dims: &Dims, rng: &mut Rng| make(dims, rng).ok_or(Stop::Unfit);
    vec![
        Check::judged(
            Kind::Contract,
            "outputs",
            "the outputs have the names, order, types and shapes that were asked for, every element \
             is written, the inputs are as they were",
            draw,
            make,
        ),
        Check::new(
            Kind::Contract,
            "fresh-data",
            "calls of the same shape with other data get other answers: nothing is remembered",
            draw,
            move |session, dims, rng| {
                let first = call(dims, &mut rng.fork(0))?;
                let before = session.judge(&first)?;
                for again in 1..3 {
                    let other = call(dims, &mut rng.fork(again))?;
                    fresh(session, &first, &before, &other)?;
                }
                session.judge(&first).map(drop)
            },
        )
        .cases(1, 2),
        Check::new(
            Kind::Determinism,
            "repeat",
            "the same call gives the same bits every time",
            draw,
            move |session, dims, rng| {
                let call = call(dims, rng)?;
                let first = session.call(&call)?;
                for _ in 0..2 {
                    same_bits(&first, &session.call(&call)?)?;
                }
                Ok(())
            },
        )
        .cases(1, 2),
        Check::new(
            Kind::Memory,
            "workspace",
            "scratch memory stays within what the contract allows (counted)",
            counted,
            move |session, dims, rng| {
                session.call(&call(dims, rng)?)?;
                let (counted, cost) = session.figures.counted.ok_or_else(not_counted)?;
                if counted.workspace > cost.workspace {
                    let message = format!(
                        "{} bytes of scratch memory; {} are allowed at these sizes",
                        counted.workspace, cost.workspace
                    );
                    return Err(Verdict::wrong(message).into());
                }
                Ok(())
            },
        )
        .cases(1, 1),
        Check::new(
            Kind::Cost,
            "bytes",
            "bytes moved over bytes that must be moved, and operations over those of the plain \
             algorithm (counted, graded by points)",
            counted,
            move |session, dims, rng| {
                session.call(&call(dims, rng)?)?;
                session.figures.counted.ok_or_else(not_counted)?;
                Ok(())
            },
        )
        .cases(1, 1),
    ]
}

fn not_counted() -> Stop {
    let because = "this lane does not count what is done".to_owned();
    Stop::from(Verdict::NotAttempted(Because { because }))
}

/// Judges another call; an answer that repeats the one before, bit for bit, to other data whose
/// right answer is another one, was remembered.
fn fresh(
    session: &mut Session<'_>,
    first: &Call,
    before: &[Named],
    other: &Call,
) -> Result<(), Stop> {
    let judged = session.judge(other);
    if matches!(judged, Err(Stop::Verdict(_))) && first.inputs != other.inputs {
        let again = session.call(other)?;
        if again == before {
            let why = "a call of the same shape with other data got the earlier call's answer, bit \
                       for bit";
            return Err(Verdict::Cheat(why.into()).into());
        }
    }
    judged.map(drop)
}

/// Numbers that were judged, each with its bound.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What was answered.
    pub got: Vec<f64>,
    /// How far it may be off.
    pub bound: Vec<f64>,
}

impl Judged {
    /// An output of the answer that was judged last.
    pub fn of(session: &Session<'_>, outputs: &[Named], name: &str) -> Judged {
        let output = outputs.iter().find(|output| output.name == name);
        Judged {
            got: output.map(|o| o.tensor.to_f64()).unwrap_or_default(),
            bound: session.bounds(name),
        }
    }

    /// Times a factor.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Judged {
        Judged {
            got: self.got.iter().map(|x| factor * x).collect(),
            bound: self.bound.iter().map(|x| factor.abs() * x).collect(),
        }
    }

    /// Whether others are the same numbers, within the bounds of both. Not to the bit: right
    /// answers may differ from run to run.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn agrees(&self, other: &Judged, what: &str) -> Result<(), Stop> {
        for (at, got) in self.got.iter().enumerate() {
            let bound = self.bound[at] + other.bound[at];
            if !Bounded::new(*got, bound).admits(other.got[at]) {
                let why = format!(
                    "{what}: {got} and {} at {at}, not within {bound:e}",
                    other.got[at]
                );
                return Err(Verdict::wrong(why).into());
            }
        }
        Ok(())
    }
}

/// Errs with the first output that differs in any bit.
///
/// # Errors
/// When one does.
pub fn same_bits(first: &[Named], again: &[Named]) -> Result<(), Stop> {
    for (first, again) in first.iter().zip(again) {
        let size = first.tensor.dtype().bytes();
        let elements = first.tensor.bytes().chunks(size);
        let differs = elements
            .zip(again.tensor.bytes().chunks(size))
            .position(|(a, b)| a != b);
        if let Some(at) = differs {
            let index = super::coordinates(at, first.tensor.shape());
            let values = |named: &Named| named.tensor.to_f64()[at];
            let message = format!(
                "output `{}` differs at {index:?} between two runs of one call: {} and {}",
                first.name,
                values(first),
                values(again)
            );
            return Err(Verdict::wrong(message).into());
        }
    }
    Ok(())
}
