//! What is right for one call, and how an answer lies against it.

use crate::submission::{Call, Named};
use crate::task::Task;
use crate::tensor::{DType, Tensor};
use crate::verdict::{BadElement, Wrong, octaves};
use reference::numbers::{Bounded, Histogram, round_to_bits};

/// Knows what is right for one call.
pub trait Oracle {
    /// The right answer, as near as the outputs' types can hold it.
    fn best(&self) -> Vec<Named>;

    /// Holds an answer against it. Names, types and shapes have been checked.
    fn judge(&self, outputs: &[Named]) -> Judged;
}

/// An element that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// What was answered.
    pub got: f64,
    /// What is right.
    pub expected: Bounded,
    /// Whether what was answered is right; a decision may be right without being the expected one.
    pub right: bool,
}

impl Element {
    /// Right if it is within the bound.
    pub fn within(got: f64, expected: Bounded) -> Element {
        Element {
            got,
            expected,
            right: expected.admits(got),
        }
    }

    /// Error ÷ bound; a decision that is right has no error.
    pub fn ratio(&self) -> f64 {
        match self.right && !self.expected.admits(self.got) {
            true => 0.0,
            false => self.expected.ratio(self.got),
        }
    }
}

/// An output that was judged.
#[derive(Clone, Debug)]
pub struct JudgedOutput {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub elements: Vec<Element>,
}

/// An answer that was judged.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The outputs, in their order.
    pub outputs: Vec<JudgedOutput>,
    /// What is wrong in words, where the oracle has better ones than "element so-and-so".
    pub note: Option<String>,
}

impl Judged {
    /// Whether all of it is right.
    pub fn is_right(&self) -> bool {
        self.note.is_none() && self.elements().all(|element| element.right)
    }

    fn elements(&self) -> impl Iterator<Item = &Element> {
        self.outputs.iter().flat_map(|output| &output.elements)
    }

    /// Error ÷ bound of every element.
    pub fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        for element in self.elements() {
            histogram.add(element.ratio());
        }
        histogram
    }

    /// What is wrong with it, if anything is.
    pub fn wrong(&self, task: &Task, call: &Call) -> Option<Wrong> {
        if self.is_right() {
            return None;
        }
        let first = self.outputs.iter().find_map(|output| {
            let at = output.elements.iter().position(|e| !e.right)?;
            let index = coordinates(at, &output.shape);
            let place = (task.place)(call, &output.name, &index);
            let element = output.elements[at];
            Some(BadElement::new(
                &output.name,
                index,
                place,
                element.got,
                element.expected,
            ))
        });
        let message = match (&self.note, &first) {
            (Some(note), _) => note.clone(),
            (None, Some(bad)) => sentence(bad),
            (None, None) => "not right".to_owned(),
        };
        Some(Wrong {
            message,
            first,
            bad: self.elements().filter(|e| !e.right).count(),
            elements: self.elements().count(),
            histogram: octaves(self.elements().map(Element::ratio)),
            diagnosis: None,
        })
    }

    /// How far another wrong answer to the same call has the same errors: the elements wrong in
    /// both with the same values, of those wrong in either.
    pub fn agreement(&self, other: &Judged) -> f64 {
        let (mut both, mut either) = (0_usize, 0_usize);
        for (mine, theirs) in self.elements().zip(other.elements()) {
            if mine.right && theirs.right {
                continue;
            }
            either += 1;
            let same = !mine.right && !theirs.right && alike(mine, theirs);
            both += usize::from(same);
        }
        both as f64 / either.max(1) as f64
    }
}

/// Whether two wrong values are one mistake: as near as two right implementations of the same
/// wrong formula would be, whose errors grow with the value.
fn alike(a: &Element, b: &Element) -> bool {
    if a.got == b.got || (a.got.is_nan() && b.got.is_nan()) {
        return true;
    }
    let grown = (b.got / b.expected.value).abs();
    let grown = if grown.is_finite() {
        grown.max(1.0)
    } else {
        1.0
    };
    (a.got - b.got).abs() <= 2.0 * a.expected.bound.max(b.expected.bound) * grown
}

fn sentence(bad: &BadElement) -> String {
    use reference::decision::{plus_minus, shortest};
    let expected = Bounded::new(bad.expected.0, bad.bound.0);
    format!(
        "{}: expected {}, got {}",
        bad.place,
        plus_minus(expected),
        shortest(bad.got.0)
    )
}

/// The coordinates of a flat index.
pub fn coordinates(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, size) in index.iter_mut().zip(shape).rev() {
        *at = flat % size.max(&1);
        flat /= size.max(&1);
    }
    index
}

/// A call that cannot tell right from wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output `{output}`: {wrong} would pass; the case cannot tell right from wrong")]
pub struct NoMargin {
    output: String,
    wrong: &'static str,
}

/// The null margin: answers known to be wrong must be judged wrong. For each float output in turn
/// it is replaced by zeros, by a constant, by the first input, by itself one precision lower. A
/// replacement that *is* the best answer is not wrong and is left out.
///
/// # Errors
/// With the first wrong answer that would pass.
pub fn null_margin(call: &Call, oracle: &dyn Oracle, lower: bool) -> Result<(), NoMargin> {
    let best = oracle.best();
    for (at, output) in best.iter().enumerate() {
        let numbers = output.tensor.to_f64();
        for (wrong, replacement) in replacements(call, &output.tensor, &numbers, lower) {
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            let Ok(tensor) =
                Tensor::from_f64(output.tensor.dtype(), output.tensor.shape(), &replacement)
            else {
                continue;
            };
            if tensor.to_f64().iter().zip(&numbers).all(same) {
                continue;
            }
            let mut answer = best.clone();
            answer[at].tensor = tensor;
            if oracle.judge(&answer).is_right() {
                let output = output.name.clone();
                return Err(NoMargin { output, wrong });
            }
        }
    }
    Ok(())
}

fn replacements(
    call: &Call,
    output: &Tensor,
    best: &[f64],
    lower: bool,
) -> Vec<(&'static str, Vec<f64>)> {
    let bits = match output.dtype() {
        DType::F32 => 11,
        DType::F16 => 8,
        DType::Bf16 => 4,
        _ => return Vec::new(),
    };
    let finite: Vec<f64> = best.iter().copied().filter(|x| x.is_finite()).collect();
    let mean = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
    let mut wrong = vec![
        ("all zeros", vec![0.0; best.len()]),
        ("a constant", vec![mean; best.len()]),
    ];
    if let Some(input) = call.inputs.first() {
        let copied: Vec<f64> = input.tensor.to_f64();
        if copied.len() >= best.len() {
            wrong.push(("the input copied", copied[..best.len()].to_vec()));
        }
    }
    if best.len() == 1 {
        wrong.retain(|(name, _)| *name != "a constant");
    }
    if lower {
        let short = |x: &f64| round_to_bits(*x, bits, -126);
        wrong.push(("one precision lower", best.iter().map(short).collect()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_indices_have_coordinates() {
        assert_eq!(coordinates(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(coordinates(0, &[]), [0_usize; 0]);
    }

    fn judged(elements: &[(f64, f64)]) -> Judged {
        let element = |(got, value): &(f64, f64)| Element::within(*got, Bounded::new(*value, 1e-3));
        Judged {
            outputs: vec![JudgedOutput {
                name: "o".into(),
                shape: vec![elements.len()],
                elements: elements.iter().map(element).collect(),
            }],
            note: None,
        }
    }

    #[test]
    fn the_same_errors_agree_and_others_do_not() {
        let seen = judged(&[(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.5, 1.0)]);
        let same = judged(&[(1.0, 1.0), (2.001, 1.0), (f64::NAN, 1.0), (0.501, 1.0)]);
        let other = judged(&[(3.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.7, 1.0)]);
        assert_eq!(seen.agreement(&same), 1.0);
        assert_eq!(seen.agreement(&other), 0.0);
    }
}
