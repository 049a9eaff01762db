//! A report as text: a table per task, and for everything that is not right the evidence.

use super::report::{CheckReport, Report, TaskReport};
use crate::verdict::{Diagnosis, Verdict, Wrong};
use std::fmt::Write;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    /// None.
    pub fn plain() -> Paint {
        Paint { colours: false }
    }

    /// Colours, unless `NO_COLOR` is set or the output is no terminal.
    pub fn of(terminal: bool) -> Paint {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Paint {
            colours: terminal && wanted,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn verdict(self, verdict: &Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Pass => "32",
            Verdict::Unsupported(_) | Verdict::NotAttempted(_) => "33",
            _ => "31;1",
        };
        self.paint(code, text)
    }
}

/// The whole report.
pub fn render(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, report, paint);
    text
}

/// One check.
pub fn render_check(check: &CheckReport, paint: Paint) -> String {
    let mut text = String::new();
    let _ = write_check(&mut text, check, paint);
    text
}

fn write(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    for task in &report.tasks {
        write_task(out, task, paint)?;
        writeln!(out)?;
    }
    writeln!(
        out,
        "{} ({}, {}): seed {}",
        report.submission, report.budget, report.machine.device, report.seed
    )?;
    for task in &report.tasks {
        let grade = &task.grade;
        let (letter, state) = match grade.passed {
            None => ("-", "not attempted"),
            Some(true) => (grade.letter.as_deref().unwrap_or("-"), "passed"),
            Some(false) => ("F", "failed"),
        };
        writeln!(
            out,
            "  {letter}  {:<26} {state:<14} {:>5.1} points  {:>6.1} s",
            task.task, grade.points, task.seconds
        )?;
    }
    write_sandbox(out, report)?;
    let overall = &report.overall;
    writeln!(
        out,
        "overall {}: {} passed, {} failed, {} not attempted",
        overall
            .letter
            .as_deref()
            .unwrap_or("- (nothing was graded)"),
        overall.passed,
        overall.failed,
        overall.not_attempted
    )
}

/// Whether what confines programs was whole; the kernel is the same for every task.
fn write_sandbox(out: &mut String, report: &Report) -> std::fmt::Result {
    let reports = report.tasks.iter().filter_map(|task| task.sandbox.as_ref());
    let Some(worst) = reports.max_by_key(|sandbox| sandbox.refused().count()) else {
        return Ok(());
    };
    let (all, refused) = (worst.layers.len(), worst.refused().count());
    if refused == 0 {
        return writeln!(out, "sandbox: all of its {all} layers");
    }
    writeln!(
        out,
        "sandbox: {refused} of its {all} layers were refused here (--require-sandbox makes that an error)"
    )?;
    for layer in worst.refused() {
        let why = layer.refused.as_deref().unwrap_or_default();
        writeln!(out, "  {}: refused: {why}", layer.name)?;
    }
    Ok(())
}

fn write_task(out: &mut String, task: &TaskReport, paint: Paint) -> std::fmt::Result {
    writeln!(out, "{}", paint.paint("1", &task.task))?;
    let attempted = task.grade.passed.is_some();
    if !attempted {
        writeln!(
            out,
            "  not attempted: {} checks were not run",
            task.checks.len()
        )?;
        return Ok(());
    }
    for check in &task.checks {
        write_check(out, check, paint)?;
    }
    write_likely(out, task, paint)?;
    let levels: Vec<String> = task
        .levels
        .iter()
        .map(|level| match level.state.as_str() {
            "reached" => level.name.clone(),
            state => format!("{} ({state})", level.name),
        })
        .collect();
    writeln!(out, "  levels: {}", levels.join(", "))?;
    for lost in &task.grade.lost {
        writeln!(
            out,
            "  −{:.1} for {}: {}",
            lost.points, lost.criterion, lost.evidence
        )?;
    }
    Ok(())
}

/// The known mistake that most of the failures look like: where to begin.
fn write_likely(out: &mut String, task: &TaskReport, paint: Paint) -> std::fmt::Result {
    let diagnosed = task.checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Wrong(wrong) => wrong.diagnosis.as_ref(),
        _ => None,
    });
    let mut counted: Vec<(usize, &Diagnosis)> = Vec::new();
    for diagnosis in diagnosed {
        match counted
            .iter_mut()
            .find(|(_, known)| known.mistake == diagnosis.mistake)
        {
            Some((count, _)) => *count += 1,
            None => counted.push((1, diagnosis)),
        }
    }
    // Of equals the one that was seen first.
    let most = counted.iter().rev().max_by_key(|(count, _)| count);
    let bad = task
        .checks
        .iter()
        .filter(|check| check.verdict.is_bad())
        .count();
    let Some((count, likely)) = most.filter(|(count, _)| *count > 1) else {
        return Ok(());
    };
    let name = paint.paint("1", &format!("`{}`", likely.mistake));
    writeln!(
        out,
        "  most likely: {count} of {bad} failures look like {name}: {}",
        likely.looks_like
    )?;
    writeln!(out, "      mend: {}", likely.mend)
}

fn write_check(out: &mut String, check: &CheckReport, paint: Paint) -> std::fmt::Result {
    let verdict = format!("{:<13}", check.verdict.name());
    let figures = &check.figures;
    let precision = match figures.worst {
        Some(worst) => format!("error/bound ≤ {worst:.2}"),
        None if figures.elements > 0 && matches!(check.verdict, Verdict::Pass) => {
            "exact".to_owned()
        }
        None => String::new(),
    };
    let cases = if check.cases == 1 { "case " } else { "cases" };
    let line = format!(
        "  {} {:<34} {:>3} {cases}  {precision}",
        paint.verdict(&check.verdict, &verdict),
        check.name,
        check.cases,
    );
    writeln!(out, "{}", line.trim_end())?;
    match &check.verdict {
        Verdict::Pass => {}
        Verdict::Wrong(wrong) => write_wrong(out, wrong)?,
        other => {
            for line in other.because().lines() {
                writeln!(out, "      {line}")?;
            }
        }
    }
    if check.verdict.is_bad() {
        writeln!(out, "      checked: {}", check.says)?;
        match &check.shrunk_from {
            Some(from) => writeln!(out, "      at {} (first seen at {from})", check.dims)?,
            None if check.dims.is_empty() => {}
            None => writeln!(out, "      at {}", check.dims)?,
        }
    }
    if let Some(replay) = &check.replay {
        writeln!(out, "      again: {replay}")?;
    }
    Ok(())
}

fn write_wrong(out: &mut String, wrong: &Wrong) -> std::fmt::Result {
    writeln!(out, "      {}", wrong.message)?;
    if let Some(first) = &wrong.first {
        writeln!(
            out,
            "      first: {} {:?} ({}): got {}, expected {} ± {:.1e}, {:.3e} times the bound",
            first.output,
            first.index,
            first.place,
            first.got.0,
            first.expected.0,
            first.bound.0,
            first.ratio.0
        )?;
    }
    if !wrong.spread.is_empty() {
        writeln!(out, "      where: {}", wrong.spread)?;
    }
    if wrong.elements > 0 {
        let octaves: Vec<String> = wrong
            .histogram
            .iter()
            .map(|(label, count)| format!("{label}: {count}"))
            .collect();
        writeln!(
            out,
            "      {} of {} elements; error/bound {}",
            wrong.bad,
            wrong.elements,
            octaves.join(", ")
        )?;
    }
    if let Some(diagnosis) = &wrong.diagnosis {
        let tile = diagnosis.tile.map(|tile| format!(" with tiles of {tile}"));
        writeln!(
            out,
            "      looks like `{}`{} ({:.0}% of the errors agree): {}",
            diagnosis.mistake,
            tile.unwrap_or_default(),
            100.0 * diagnosis.agreement,
            diagnosis.looks_like
        )?;
        writeln!(out, "      mend: {}", diagnosis.mend)?;
        if !diagnosis.also.is_empty() {
            let others: Vec<String> = diagnosis.also.iter().map(|m| format!("`{m}`")).collect();
            writeln!(out, "      fits as well: {}", others.join(", "))?;
        }
    }
    Ok(())
}
