//! The instruction set: one table with syntax and meaning.
//!
//! `alu` holds the lines whose meaning is a function of one lane; `table` those that move
//! data, control or synchronise.

pub(crate) mod alu;
pub(crate) mod meaning;
pub(crate) mod pattern;
pub(crate) mod table;
mod work;

pub use work::{Class, Unit, Work};

use crate::lower::arithmetic;
use crate::lower::emit::{Emitter, Result};
use crate::ptx::ast::{Instruction, Module, Statement};
use pattern::Pattern;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

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
                // The nearest first: those with most of the modifiers.
                let unknown = |form: &Entry| {
                    let known = |m: &str| form.pattern.names(m);
                    i.modifiers.iter().filter(|m| !known(&m.text)).count()
                };
                let mut forms: Vec<&Entry> = forms.iter().collect();
                forms.sort_by_key(|form| unknown(form));
                let forms: Vec<&str> = forms.iter().map(|f| f.text).take(4).collect();
                error.with_help(format!("known forms: {}", forms.join(", ")))
            }
            None => error,
        });
    };
    e.begin(i, Work::of(i));
    (entry.lower)(e, i)
}

/// A line of the table, a place for a modifier in it, and a word that may stand there, or none.
pub type Choice = (&'static str, usize, &'static str);

/// Shows every instruction of a module with its line of the table.
fn each<'m>(module: &'m Module, mut show: impl FnMut(&'static Entry, &'m Instruction)) {
    fn visit<'m>(
        statements: &'m [Statement],
        show: &mut impl FnMut(&'static Entry, &'m Instruction),
    ) {
        for statement in statements {
            match statement {
                Statement::Block(inner) => visit(inner, show),
                Statement::Instruction(i) => {
                    if let Some(entry) = find(i) {
                        show(entry, i);
                    }
                }
                _ => {}
            }
        }
    }
    for function in &module.functions {
        visit(function.body.as_deref().unwrap_or(&[]), &mut show);
    }
}

/// The lines of the table that the instructions of a module are found in.
pub fn used(module: &Module) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    each(module, |entry, _| found.extend([entry.text]));
    found
}

/// The choices of the table that the instructions of a module make.
pub fn used_choices(module: &Module) -> BTreeSet<Choice> {
    let mut found = BTreeSet::new();
    each(module, |entry, i| {
        let modifiers = i.modifiers.iter().map(|m| m.text.as_str());
        let chosen = entry.pattern.chosen(modifiers);
        found.extend(chosen.map(|(place, word)| (entry.text, place, word)));
    });
    found
}

/// All choices of the table.
pub fn choices() -> BTreeSet<Choice> {
    let all = patterns().values().flatten();
    all.flat_map(|e| e.pattern.choices().map(|(n, word)| (e.text, n, word)))
        .collect()
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
