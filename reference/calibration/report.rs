//! What a campaign found.

use std::collections::BTreeMap;
use std::fmt;

use reference::cases::NoMargin;
use reference::numbers::{BoundedTensor, Histogram};

/// Failures kept word for word; the rest is counted.
const KEPT: usize = 5;

/// Counts of a campaign, and error ÷ bound by output.
#[derive(Default)]
pub struct Report {
    pub cases: u64,
    pub answers: u64,
    pub failures: u64,
    pub first_failures: Vec<String>,
    /// Cases that a known-wrong answer passes, after redrawing.
    pub without_margin: Vec<String>,
    /// Draws thrown away because a known-wrong answer passed.
    pub redrawn: u64,
    /// Answers to a case whose bounds leave the choice open (only of sampled walks).
    pub undecided: u64,
    pub outputs: BTreeMap<&'static str, Histogram>,
}

impl Report {
    /// Takes a case built by [`reference::cases::build`], or notes that it has no margin.
    pub fn built<C>(&mut self, seed: u64, case: Result<(C, u64), NoMargin>) -> Option<C> {
        match case {
            Ok((case, redrawn)) => {
                self.redrawn += redrawn;
                Some(case)
            }
            Err(error) => {
                self.without_margin.push(format!("seed {seed}: {error}"));
                None
            }
        }
    }

    /// Holds one output of an honest answer against its bounds.
    pub fn compare(
        &mut self,
        output: &'static str,
        style: &str,
        seed: u64,
        expected: &BoundedTensor,
        got: impl ExactSizeIterator<Item = f64>,
    ) {
        self.answers += 1;
        let result = match expected.compare_f64(output, got.len(), got) {
            Ok(result) => result,
            Err(error) => return self.fail(style, seed, error.to_string()),
        };
        self.outputs
            .entry(output)
            .or_default()
            .merge(&result.histogram);
        if let Some(first) = result.first_failure {
            let count = result.failures;
            self.fail(
                style,
                seed,
                format!("{output}: {count} elements, first {first:?}"),
            );
        }
    }

    /// Takes the verdict of a decision oracle on an honest answer.
    pub fn judged<E: fmt::Display>(
        &mut self,
        output: &'static str,
        style: &str,
        seed: u64,
        verdict: Result<Histogram, E>,
    ) {
        self.answers += 1;
        match verdict {
            Ok(histogram) => self.outputs.entry(output).or_default().merge(&histogram),
            Err(error) => self.fail(style, seed, error.to_string()),
        }
    }

    fn fail(&mut self, style: &str, seed: u64, what: String) {
        self.failures += 1;
        if self.first_failures.len() < KEPT {
            self.first_failures
                .push(format!("seed {seed}, {style}: {what}"));
        }
    }

    pub fn merged(mut self, other: Self) -> Self {
        self.cases += other.cases;
        self.answers += other.answers;
        self.failures += other.failures;
        self.undecided += other.undecided;
        self.redrawn += other.redrawn;
        self.first_failures.extend(other.first_failures);
        self.first_failures.truncate(KEPT);
        self.without_margin.extend(other.without_margin);
        for (output, histogram) in &other.outputs {
            self.outputs.entry(output).or_default().merge(histogram);
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cases,
            answers,
            failures,
            undecided,
            ..
        } = self;
        write!(f, "{cases} cases, {answers} answers, {failures} failures, ")?;
        write!(
            f,
            "{} without margin ({} redrawn)",
            self.without_margin.len(),
            self.redrawn
        )?;
        if *undecided > 0 {
            write!(f, ", {undecided} undecided")?;
        }
        writeln!(f)?;
        for (output, histogram) in &self.outputs {
            let quantile = |q| histogram.quantile(q).unwrap_or(0.0);
            let exact = 100.0 * histogram.exact as f64 / histogram.total().max(1) as f64;
            writeln!(
                f,
                "  {output:<12} {:>12} elements, {exact:4.1}% exact; error/bound of the others: \
                 median <= {:.2e}, 99% <= {:.2e}, max <= {:.2e}",
                histogram.total(),
                quantile(0.5),
                quantile(0.99),
                quantile(1.0),
            )?;
        }
        for failure in self
            .first_failures
            .iter()
            .chain(self.without_margin.iter().take(KEPT))
        {
            writeln!(f, "  ! {failure}")?;
        }
        Ok(())
    }
}
