//! What a campaign counts.

use std::collections::BTreeMap;

use reference::numbers::{Bounded, BoundedTensor, Histogram};

/// Error ÷ bound per output and kind of implementation, failures with their seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    pub(crate) ratios: BTreeMap<String, Histogram>,
    /// Elements with an infinite bound.
    pub(crate) undecided: u64,
    pub(crate) failures: Vec<String>,
    /// Wrong answers that passed, and how many were tried.
    pub(crate) wrong_passed: Vec<String>,
    pub(crate) wrong_tried: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts one honest answer.
    pub(crate) fn honest(&mut self, key: &str, case: &str, expected: &BoundedTensor, got: &[f64]) {
        assert_eq!(expected.len(), got.len(), "{key}: {case}");
        let pairs = expected.items().iter().zip(got.iter().copied());
        let (decided, got): (Vec<Bounded>, Vec<f64>) = pairs
            .filter(|(item, _)| item.bound != f64::INFINITY)
            .unzip();
        self.undecided += (expected.len() - decided.len()) as u64;
        let decided = BoundedTensor::new("answer", &[decided.len()], decided).expect("as counted");
        let result = decided
            .compare_f64("answer", got.len(), got)
            .expect("as counted");
        if let Some(first) = result.first_failure {
            self.failures.push(format!("{key}: {case}: {first:?}"));
        }
        self.ratios
            .entry(key.to_owned())
            .or_default()
            .merge(&result.histogram);
    }

    /// Counts one wrong answer, `(expected, got)` per output; it must leave some bound.
    pub(crate) fn wrong(&mut self, key: &str, case: &str, outputs: &[(&BoundedTensor, &[f64])]) {
        *self.wrong_tried.entry(key.to_owned()).or_default() += 1;
        let passes = |(expected, got): &(&BoundedTensor, &[f64])| {
            let mut pairs = expected.items().iter().zip(*got);
            pairs.all(|(item, &got)| item.admits(got))
        };
        if outputs.iter().all(passes) {
            self.wrong_passed.push(format!("{key}: {case}"));
        }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.cases += other.cases;
        self.undecided += other.undecided;
        for (key, histogram) in &other.ratios {
            self.ratios.entry(key.clone()).or_default().merge(histogram);
        }
        for (key, count) in other.wrong_tried {
            *self.wrong_tried.entry(key).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.wrong_passed.extend(other.wrong_passed);
        self
    }

    /// A table of quantiles, then what went wrong.
    pub(crate) fn print(&self) {
        println!(
            "{} cases, {} elements undecided",
            self.cases, self.undecided
        );
        println!("| output | elements | median | 90% | 99.9% | largest | outside |");
        println!("|---|---|---|---|---|---|---|");
        for (key, h) in &self.ratios {
            let quantile = |q| {
                h.quantile(q)
                    .map_or("exact".to_owned(), |x| format!("{x:.1e}"))
            };
            let (median, high) = (quantile(0.5), quantile(0.9));
            let (tail, largest) = (quantile(0.999), quantile(1.0));
            let (total, outside) = (h.total(), h.outside);
            println!("| {key} | {total} | {median} | {high} | {tail} | {largest} | {outside} |");
        }
        for (key, count) in &self.wrong_tried {
            println!("wrong: {key}: {count} tried");
        }
        for line in self.failures.iter().take(20) {
            println!("OUTSIDE {line}");
        }
        for line in self.wrong_passed.iter().take(20) {
            println!("PASSED THOUGH WRONG {line}");
        }
    }
}
