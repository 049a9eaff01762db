//! A contract as text, complete enough to implement from. It names the properties that will be
//! held against an answer, and not the traps.

use super::check::Kind;
use super::{Op, Port, Task};
use crate::submission::{Call, Named, Value};
use crate::tensor::Tensor;
use std::fmt::Write;

/// The contract of a task.
pub fn explain(task: &Task) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, task);
    text
}

fn write(out: &mut String, task: &Task) -> std::fmt::Result {
    let spec = task.spec;
    writeln!(out, "{}: {}\n", spec.name, spec.summary)?;
    for line in spec.formula.lines() {
        writeln!(out, "    {line}")?;
    }
    for op in spec.ops {
        operation(out, op)?;
    }
    list(out, "Conventions", spec.conventions)?;
    list(out, "Odd values", spec.odd_values)?;
    writeln!(
        out,
        "\nLevels (the first is the least; a submission says `unsupported` to others)"
    )?;
    for level in spec.levels {
        writeln!(out, "  {:<14} {}", level.name, level.meaning)?;
    }
    writeln!(out, "\nWhat must hold")?;
    for check in &task.checks {
        if check.kind == Kind::Property {
            writeln!(out, "  {:<14} {}", check.name, wrapped(check.says, 17))?;
        }
    }
    writeln!(out, "\nCost")?;
    writeln!(out, "  bytes          {}", wrapped(spec.cost.bytes, 17))?;
    writeln!(out, "  flops          {}", wrapped(spec.cost.flops, 17))?;
    writeln!(out, "  workspace      {}", wrapped(spec.cost.workspace, 17))?;
    example(out, task)?;
    graded(out, task)
}

fn operation(out: &mut String, op: &Op) -> std::fmt::Result {
    writeln!(out, "\nOperation `{}`: {}", op.name, op.summary)?;
    for size in op.sizes {
        writeln!(
            out,
            "  size      {:<12} {}",
            size.name,
            wrapped(size.meaning, 25)
        )?;
    }
    for parameter in op.parameters {
        let default = match parameter.default {
            Some(default) => format!(" (absent: {default})"),
            None => String::new(),
        };
        let meaning = format!("{}: {}{default}", parameter.kind, parameter.meaning);
        writeln!(
            out,
            "  parameter {:<12} {}",
            parameter.name,
            wrapped(&meaning, 25)
        )?;
    }
    for (what, ports) in [("input ", op.inputs), ("output", op.outputs)] {
        for port in ports {
            writeln!(
                out,
                "  {what}    {:<12} {}",
                port.name,
                wrapped(&described(port), 25)
            )?;
        }
    }
    Ok(())
}

fn described(port: &Port) -> String {
    let optional = if port.optional { ", optional" } else { "" };
    let dtype = port.dtype.replace('|', " | ");
    let shape = port.shape.join(", ");
    format!("{dtype} [{shape}]{optional}: {}", port.meaning)
}

fn list(out: &mut String, title: &str, items: &[&str]) -> std::fmt::Result {
    writeln!(out, "\n{title}")?;
    for item in items {
        writeln!(out, "  - {}", wrapped(item, 4))?;
    }
    Ok(())
}

fn example(out: &mut String, task: &Task) -> std::fmt::Result {
    let call = (task.example)();
    writeln!(out, "\nExample")?;
    parameters(out, &call)?;
    for input in &call.inputs {
        writeln!(out, "  {:<12} = {}", input.name, tensor(&input.tensor))?;
    }
    // The oracle's own values: the example cannot drift from what is graded.
    let best = (task.oracle)(&call).map(|oracle| oracle.best());
    for Named { name, tensor: of } in best.unwrap_or_default() {
        writeln!(out, "  {name:<12} → {}", tensor(&of))?;
    }
    Ok(())
}

fn parameters(out: &mut String, call: &Call) -> std::fmt::Result {
    let value = |value: &Value| match value {
        Value::Bool(x) => x.to_string(),
        Value::Int(x) => x.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Ints(x) => format!("{x:?}"),
        Value::Text(x) => format!("{x:?}"),
    };
    let shown: Vec<String> = call
        .parameters
        .iter()
        .map(|(name, v)| format!("{name} = {}", value(v)))
        .collect();
    writeln!(out, "  {}: {}", call.op, shown.join(", "))
}

/// Nested brackets, row by row; at most 24 numbers.
fn tensor(tensor: &Tensor) -> String {
    const MOST: usize = 24;
    let numbers = tensor.to_f64();
    let number = |x: &f64| {
        if x.fract() == 0.0 {
            x.to_string()
        } else {
            let text = format!("{x:.5}");
            text.trim_end_matches('0').to_owned()
        }
    };
    let shown: Vec<String> = numbers.iter().take(MOST).map(number).collect();
    let width = tensor.shape().last().copied().unwrap_or(1).max(1);
    let dtype = tensor.dtype();
    let shape = tensor.shape();
    let more = if numbers.len() > MOST { " …" } else { "" };
    if shape.len() < 2 || numbers.len() > MOST {
        return format!("[{}{more}]  {dtype} {shape:?}", shown.join(", "));
    }
    let rows: Vec<String> = shown
        .chunks(width)
        .map(|row| format!("[{}]", row.join(", ")))
        .collect();
    format!("[{}]  {dtype} {shape:?}", rows.join(", "))
}

fn graded(out: &mut String, task: &Task) -> std::fmt::Result {
    writeln!(out, "\nHow it is graded")?;
    let count = |kind| task.checks.iter().filter(|c| c.kind == kind).count();
    let counts: Vec<String> = Kind::ALL
        .into_iter()
        .filter(|kind| count(*kind) > 0)
        .map(|kind| format!("{} {}", count(kind), kind.name()))
        .collect();
    writeln!(out, "  Checks: {}.", wrapped(&counts.join(", "), 2))?;
    let text = "Every float is held against a float64 oracle by |got − value| ≤ bound; the bound is \
                a rounding analysis of that very element and input, for any order of summation. \
                There is no tolerance to tune and none to exploit. Inputs are drawn from a secret \
                seed, fresh for every call. Something wrong in any check of right and wrong fails \
                the task; levels, precision, memory, cost and determinism make the letter.";
    writeln!(out, "  {}", wrapped(text, 2))
}

/// Lines of at most 96 characters, continued under an indent.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    let width = 96 - indent;
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}
