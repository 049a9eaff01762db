//! What a check can end with. Kinds are never mixed.

use reference::numbers::Bounded;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a check ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was looked at is right.
    Pass,
    /// An answer, and not the right one.
    Wrong(Box<Wrong>),
    /// The program did what no program may: out of bounds, a race, values never written.
    Fault(Because),
    /// It ended before it answered.
    Crash(Because),
    /// It did not answer in time.
    Timeout(Because),
    /// It hit a limit other than time.
    Limit(Because),
    /// It answered something that is no answer to the call.
    Malformed(Because),
    /// It tried to deceive.
    Cheat(Because),
    /// It says that it does not have this, or uses what the machine does not have.
    Unsupported(Because),
    /// It was not asked.
    NotAttempted(Because),
    /// Our own mistake: nothing is said about the submission.
    Grader(Because),
}

/// The evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// In words.
    pub because: String,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wrong {
    /// In a sentence.
    pub message: String,
    /// The first bad element, where there is one.
    pub first: Option<BadElement>,
    /// Where the bad elements of that output are, axis by axis: `D 64–66 of 67`.
    #[serde(default)]
    pub spread: String,
    /// How many elements are bad.
    pub bad: usize,
    /// Of how many.
    pub elements: usize,
    /// Error ÷ bound of all elements, in powers of two: up to 2⁻⁸, …, up to 1, up to 2, …
    pub histogram: Vec<(String, u64)>,
    /// Which known mistake it looks like.
    pub diagnosis: Option<Diagnosis>,
}

/// An element that is not right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadElement {
    /// The output.
    pub output: String,
    /// Its coordinates.
    pub index: Vec<usize>,
    /// Where that is: row, head, page, tile.
    pub place: String,
    /// What was answered.
    pub got: Number,
    /// What is right.
    pub expected: Number,
    /// How far off it may be.
    pub bound: Number,
    /// Error ÷ bound.
    pub ratio: Number,
}

/// A mistake we hold an implementation of, whose wrong answers agree with those seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The mistake's name.
    pub mistake: String,
    /// What it does.
    pub looks_like: String,
    /// What to do.
    pub mend: String,
    /// The length of the tiles that the mistake was made with, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<usize>,
    /// Others that fit as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Share of the elements wrong in either answer that are wrong in both, with the same values.
    pub agreement: f64,
}

/// A float; odd ones are written as text in JSON, which has no words for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_finite() {
            true => serializer.serialize_f64(self.0),
            false => serializer.serialize_str(&self.0.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(x) => Ok(Number(x)),
            Written::Text(text) => text.parse().map(Number).map_err(serde::de::Error::custom),
        }
    }
}

impl Verdict {
    /// The kind's name.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Wrong(_) => "wrong",
            Verdict::Fault(_) => "fault",
            Verdict::Crash(_) => "crash",
            Verdict::Timeout(_) => "timeout",
            Verdict::Limit(_) => "limit",
            Verdict::Malformed(_) => "malformed",
            Verdict::Cheat(_) => "cheat",
            Verdict::Unsupported(_) => "unsupported",
            Verdict::NotAttempted(_) => "not-attempted",
            Verdict::Grader(_) => "grader",
        }
    }

    /// Whether the submission did something that must not be.
    pub fn is_bad(&self) -> bool {
        !matches!(
            self,
            Verdict::Pass | Verdict::Unsupported(_) | Verdict::NotAttempted(_) | Verdict::Grader(_)
        )
    }

    /// Why, in one line.
    pub fn because(&self) -> &str {
        match self {
            Verdict::Pass => "",
            Verdict::Wrong(wrong) => &wrong.message,
            Verdict::Fault(b)
            | Verdict::Crash(b)
            | Verdict::Timeout(b)
            | Verdict::Limit(b)
            | Verdict::Malformed(b)
            | Verdict::Cheat(b)
            | Verdict::Unsupported(b)
            | Verdict::NotAttempted(b)
            | Verdict::Grader(b) => &b.because,
        }
    }

    /// Wrong, in a sentence, without an element to show.
    pub fn wrong(message: impl Into<String>) -> Verdict {
        Verdict::Wrong(Box::new(Wrong {
            message: message.into(),
            ..Wrong::default()
        }))
    }
}

impl From<String> for Because {
    fn from(because: String) -> Because {
        Because { because }
    }
}

impl From<&str> for Because {
    fn from(because: &str) -> Because {
        because.to_owned().into()
    }
}

impl From<crate::submission::Failure> for Verdict {
    fn from(failure: crate::submission::Failure) -> Verdict {
        use crate::submission::Failure;
        match failure {
            Failure::Fault(why) => Verdict::Fault(why.into()),
            Failure::Crash(why) => Verdict::Crash(why.into()),
            Failure::Timeout(why) => Verdict::Timeout(why.into()),
            Failure::Limit(why) => Verdict::Limit(why.into()),
            Failure::Malformed(why) => Verdict::Malformed(why.into()),
            Failure::Cheat(why) => Verdict::Cheat(why.into()),
            Failure::Unsupported(why) => Verdict::Unsupported(why.into()),
            Failure::Grader(why) => Verdict::Grader(why.into()),
        }
    }
}

impl BadElement {
    /// From what was judged.
    pub fn new(
        output: &str,
        index: Vec<usize>,
        place: String,
        got: f64,
        expected: Bounded,
    ) -> BadElement {
        BadElement {
            output: output.to_owned(),
            index,
            place,
            got: Number(got),
            expected: Number(expected.value),
            bound: Number(expected.bound),
            ratio: Number(expected.ratio(got)),
        }
    }
}

/// Error ÷ bound in whole powers of two, only those that occur.
pub fn octaves(ratios: impl IntoIterator<Item = f64>) -> Vec<(String, u64)> {
    const LOW: i32 = -8;
    const HIGH: i32 = 8;
    let mut counts = [0_u64; (HIGH - LOW + 2) as usize];
    let mut exact = 0;
    for ratio in ratios {
        if ratio == 0.0 {
            exact += 1;
            continue;
        }
        let octave = if ratio.is_finite() {
            (ratio.log2().ceil() as i32).clamp(LOW, HIGH + 1)
        } else {
            HIGH + 1
        };
        counts[(octave - LOW) as usize] += 1;
    }
    let label = |octave: i32| match octave {
        LOW => "≤ 1/256".to_owned(),
        octave if octave < 0 => format!("≤ 1/{}", 1 << -octave),
        octave if octave <= HIGH => format!("≤ {}", 1 << octave),
        _ => format!("> {}", 1 << HIGH),
    };
    let counted = (LOW..=HIGH + 1).zip(counts);
    let mut rows = vec![("exact".to_owned(), exact)];
    rows.extend(counted.map(|(octave, count)| (label(octave), count)));
    rows.retain(|(_, count)| *count > 0);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_counted_by_octave() {
        let rows = octaves([0.0, 0.5, 0.51, 1.0, 3.0, 1e9, f64::INFINITY, 1e-9]);
        let rows: Vec<_> = rows.iter().map(|(l, n)| (l.as_str(), *n)).collect();
        let expected = [
            ("exact", 1),
            ("≤ 1/256", 1),
            ("≤ 1/2", 1),
            ("≤ 1", 2),
            ("≤ 4", 1),
            ("> 256", 2),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn odd_numbers_are_text_in_json() {
        let text = |x| serde_json::to_string(&Number(x)).unwrap();
        assert_eq!(text(f64::NAN), "\"NaN\"");
        assert_eq!(text(f64::NEG_INFINITY), "\"-inf\"");
        assert_eq!(text(0.5), "0.5");
        let back: Number = serde_json::from_str("\"-inf\"").unwrap();
        assert_eq!(back, Number(f64::NEG_INFINITY));
    }
}
