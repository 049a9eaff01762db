//! The null margin: a case that a known-wrong answer would pass is not a case.

use crate::numbers::{BoundedTensor, DType, round_to_bits};

/// An answer known to be wrong.
#[derive(Clone, Debug)]
pub struct WrongAnswer {
    /// What is wrong with it.
    pub name: &'static str,
    /// Its elements.
    pub values: Vec<f64>,
}

/// A known-wrong answer lies inside the bounds everywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output `{output}`: {wrong} would pass; the case cannot tell right from wrong")]
pub struct NoMargin {
    /// The output it was tried for.
    pub output: &'static str,
    /// Which wrong answer.
    pub wrong: &'static str,
}

/// Errs with the first of `wrong` that every bound of `expected` admits.
///
/// An answer of another length counts as rejected, since shapes are compared first.
pub fn null_margin(
    output: &'static str,
    expected: &BoundedTensor,
    wrong: &[WrongAnswer],
) -> Result<(), NoMargin> {
    for answer in wrong {
        let passes = answer.values.len() == expected.len()
            && expected
                .items()
                .iter()
                .zip(&answer.values)
                .all(|(item, &got)| item.admits(got));
        if passes {
            return Err(NoMargin {
                output,
                wrong: answer.name,
            });
        }
    }
    Ok(())
}

/// The wrong answers every case must reject: zeros, a constant (the mean of the finite expected
/// values, the best a constant can do; left out for a single element, which is a constant), the
/// input copied, and the exact answer one precision lower. A missing tile is each family's to add.
pub fn usual_wrong_answers(
    expected: &BoundedTensor,
    output: DType,
    input: impl IntoIterator<Item = f64>,
) -> Vec<WrongAnswer> {
    let n = expected.len();
    let finite: Vec<f64> = expected.values().filter(|x| x.is_finite()).collect();
    let mean = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
    let mut wrong = vec![
        WrongAnswer {
            name: "all zeros",
            values: vec![0.0; n],
        },
        WrongAnswer {
            name: "the input copied",
            values: input.into_iter().take(n).collect(),
        },
        WrongAnswer {
            name: "one precision lower",
            values: expected
                .values()
                .map(|x| lower_precision(output, x))
                .collect(),
        },
    ];
    if n > 1 {
        wrong.insert(
            1,
            WrongAnswer {
                name: "a constant",
                values: vec![mean; n],
            },
        );
    }
    wrong
}

/// Rounds to the next shorter significand in use: f32 to the 11 bits of f16, f16 to the 8 of
/// bf16, bf16 to the 4 of fp8 (e4m3). The exponent range is kept: only precision is lowered.
pub fn lower_precision(dtype: DType, x: f64) -> f64 {
    let bits = match dtype {
        DType::F32 => DType::F16.significand_bits(),
        DType::F16 => DType::Bf16.significand_bits(),
        DType::Bf16 => 4,
    };
    round_to_bits(x, bits, dtype.min_exponent())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Bounded;

    fn expected(bound: f64) -> BoundedTensor {
        let items = [1.1, -2.3, 0.7].map(|x| Bounded::new(x, bound)).to_vec();
        BoundedTensor::new("o", &[3], items).unwrap()
    }

    #[test]
    fn tight_bounds_reject_every_usual_wrong_answer() {
        let expected = expected(1e-6);
        let wrong = usual_wrong_answers(&expected, DType::F32, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(wrong.len(), 4);
        assert!(null_margin("o", &expected, &wrong).is_ok());
    }

    /// As a bound grows, one wrong answer after the other slips in; the first is named.
    #[test]
    fn loose_bounds_are_found_out() {
        for (bound, name) in [
            (0.01, "one precision lower"),
            (2.2, "a constant"),
            (3.0, "all zeros"),
        ] {
            let expected = expected(bound);
            let wrong = usual_wrong_answers(&expected, DType::F32, [9.0, 9.0, 9.0]);
            let error = null_margin("o", &expected, &wrong).unwrap_err();
            assert_eq!((error.output, error.wrong), ("o", name));
        }
    }

    #[test]
    fn the_right_answer_is_of_course_admitted() {
        let expected = expected(1e-6);
        let right = WrongAnswer {
            name: "right",
            values: expected.values().collect(),
        };
        assert!(null_margin("o", &expected, &[right]).is_err());
    }

    #[test]
    fn lower_precision_keeps_the_range() {
        assert_eq!(lower_precision(DType::F32, 1.0 + 2f64.powi(-12)), 1.0);
        assert_eq!(
            lower_precision(DType::F32, 1e30),
            round_to_bits(1e30, 11, -126)
        );
        assert_eq!(lower_precision(DType::Bf16, 1.0625), 1.0);
    }
}
