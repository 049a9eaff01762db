//! The instruction set: one table with syntax and meaning.
//!
//! [`alu`] holds the lines whose meaning is a function of one lane; [`table`] those that move
//! data, control or synchronise.

pub(crate) mod alu;
pub(crate) mod meaning;
pub(crate) mod pattern;
pub(crate) mod table;

use crate::lower::arithmetic;
use crate::lower::emit::{Emitter, Result};
use crate::ptx::ast::Instruction;
use crate::ptx::types::{ScalarType, TypeKind};
use pattern::Pattern;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// The classes in which instructions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Part of an instruction that is counted elsewhere.
    None,
    /// Integer arithmetic, logic, comparison, moves.
    Integer,
    /// f16 and bf16 arithmetic.
    Half,
    /// f32 arithmetic.
    Single,
    /// f64 arithmetic.
    Double,
    /// Approximate functions.
    Special,
    /// Conversions.
    Convert,
    /// Loads, stores and asynchronous copies.
    Memory,
    /// Atomics.
    Atomic,
    /// Matrix instructions.
    Matrix,
    /// Branches, calls, exits.
    Control,
    /// Barriers, votes, shuffles, fences.
    Synchronise,
    /// The rest.
    #[default]
    Other,
}

/// One pattern and what lowers it.
pub(crate) struct Entry {
    pub(crate) pattern: Pattern,
    text: &'static str,
    lower: table::Lower,
    pub(crate) alu: Option<usize>,
}

/// All patterns by opcode, in the order of the table.
pub(crate) fn patterns() -> &'static HashMap<&'static str, Vec<Entry>> {
    static ALL: LazyLock<HashMap<&'static str, Vec<Entry>>> = LazyLock::new(|| {
        let mut all: HashMap<&'static str, Vec<Entry>> = HashMap::new();
        for form in table::FORMS {
            let pattern = Pattern::new(form.pattern);
            let entry = Entry {
                pattern,
                text: form.pattern,
                lower: form.lower,
                alu: None,
            };
            all.entry(entry.pattern.opcode).or_default().push(entry);
        }
        for (index, form) in alu::FORMS.iter().enumerate() {
            let pattern = Pattern::new(form.pattern);
            let lower: table::Lower = match pattern.opcode {
                // The comparison lines describe what `setp` and `set` are made of.
                "setp" => arithmetic::setp,
                "lop3" => arithmetic::lop3,
                "cvt" => arithmetic::cvt_any,
                _ => lower_alu,
            };
            let entry = Entry {
                pattern,
                text: form.pattern,
                lower,
                alu: Some(index),
            };
            all.entry(entry.pattern.opcode).or_default().push(entry);
        }
        all
    });
    &ALL
}

fn find(i: &Instruction) -> Option<&'static Entry> {
    let entries = patterns().get(i.opcode.text.as_str())?;
    entries
        .iter()
        .find(|e| e.pattern.fits(i.modifiers.iter().map(|m| m.text.as_str())))
}

fn lower_alu(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let Some(index) = find(i).and_then(|entry| entry.alu) else {
        return Err(e.unsupported(i.span, format!("`{}`", i.mnemonic())));
    };
    let form = &alu::FORMS[index];
    arithmetic::plain(e, i, form)
}

/// Finds an instruction in the table and lowers it.
pub(crate) fn lower(e: &mut Emitter<'_>, i: &Instruction) -> Result<()> {
    let Some(entry) = find(i) else {
        let error = e.unsupported(i.span, format!("instruction `{}`", i.mnemonic()));
        let known = patterns().get(i.opcode.text.as_str());
        return Err(match known {
            Some(forms) => {
                let forms: Vec<&str> = forms.iter().map(|f| f.text).take(4).collect();
                error.with_help(format!("known forms: {}", forms.join(", ")))
            }
            None => error,
        });
    };
    let (class, flops) = classify(i);
    e.begin(i, class, flops);
    (entry.lower)(e, i)
}

/// The class of an instruction and the floating-point operations of one lane.
fn classify(i: &Instruction) -> (Class, u16) {
    let opcode = i.opcode.text.as_str();
    let ty = i
        .modifiers
        .iter()
        .rev()
        .find_map(|m| ScalarType::from_name(&m.text[1..]));
    let float = ty.filter(|t| t.kind() == TypeKind::Float);
    let special = ["ex2", "lg2", "rcp", "rsqrt", "sqrt", "sin", "cos", "tanh"].contains(&opcode);
    let class = match opcode {
        "ld" | "st" | "ldu" | "ldmatrix" | "stmatrix" | "cp" | "prefetch" => Class::Memory,
        "atom" | "red" => Class::Atomic,
        "mma" | "wmma" | "wgmma" => Class::Matrix,
        "bra" | "brx" | "exit" | "trap" => Class::Control,
        "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "elect" | "membar" | "fence"
        | "mbarrier" | "activemask" => Class::Synchronise,
        "cvt" => Class::Convert,
        "mov" | "selp" | "setp" | "set" => Class::Integer,
        _ if special => Class::Special,
        _ => match float {
            Some(ScalarType::F32) => Class::Single,
            Some(ScalarType::F64) => Class::Double,
            Some(_) => Class::Half,
            None => Class::Integer,
        },
    };
    let lanes = if matches!(float, Some(ScalarType::F16x2 | ScalarType::BF16x2)) {
        2
    } else {
        1
    };
    let flops = match (opcode, float) {
        ("fma" | "mad", Some(_)) => 2 * lanes,
        ("add" | "sub" | "mul" | "div" | "min" | "max", Some(_)) => lanes,
        _ if special => lanes,
        _ => 0,
    };
    (class, flops)
}

/// The whole table as text, one form a line, by opcode: the coverage of the machine.
pub fn listing() -> Vec<(&'static str, Vec<&'static str>)> {
    let sorted: BTreeMap<_, _> = patterns().iter().collect();
    let forms = |entries: &[Entry]| entries.iter().map(|e| e.text).collect();
    sorted
        .into_iter()
        .map(|(opcode, entries)| (*opcode, forms(entries)))
        .collect()
}
