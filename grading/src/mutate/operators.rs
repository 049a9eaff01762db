//! What is changed: one small mistake in one line of PTX, of the kinds that people and compilers
//! make.

use std::fmt;

/// A kind of mistake.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Another operation: `add` for `sub`, `max` for `min`.
    Operator,
    /// A constant off by one, or by its sign.
    Constant,
    /// The other comparison, or the neighbouring one.
    Comparison,
    /// A guard that is turned around, or gone.
    Predicate,
    /// A barrier that is gone.
    Barrier,
    /// An address off by one access.
    Offset,
    /// Another rounding, another shuffle, another width.
    Modifier,
    /// Two source operands exchanged, where the order matters.
    Operands,
    /// A store that is gone.
    Store,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Kind::Operator,
        Kind::Constant,
        Kind::Comparison,
        Kind::Predicate,
        Kind::Barrier,
        Kind::Offset,
        Kind::Modifier,
        Kind::Operands,
        Kind::Store,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Operator => "operator",
            Kind::Constant => "constant",
            Kind::Comparison => "comparison",
            Kind::Predicate => "predicate",
            Kind::Barrier => "barrier",
            Kind::Offset => "offset",
            Kind::Modifier => "modifier",
            Kind::Operands => "operands",
            Kind::Store => "store",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of mistake it is.
    pub kind: Kind,
    /// The line as it becomes, trimmed.
    pub to: String,
}

/// An instruction: an optional guard, an opcode, operands.
#[derive(Clone, Copy, Debug)]
struct Instruction<'a> {
    guard: Option<&'a str>,
    opcode: &'a str,
    operands: &'a str,
}

impl<'a> Instruction<'a> {
    fn parse(line: &'a str) -> Option<Instruction<'a>> {
        let line = line.trim();
        let body = line.strip_suffix(';')?;
        if body.starts_with(['.', '{', '}', '/', '$']) || body.is_empty() {
            return None;
        }
        let (guard, rest) = match body.strip_prefix('@') {
            Some(rest) => {
                let (guard, rest) = rest.split_once(char::is_whitespace)?;
                (Some(guard), rest.trim_start())
            }
            None => (None, body),
        };
        let (opcode, operands) = match rest.split_once(char::is_whitespace) {
            Some((opcode, operands)) => (opcode, operands.trim()),
            None => (rest, ""),
        };
        Some(Instruction {
            guard,
            opcode,
            operands,
        })
    }

    fn text(&self) -> String {
        let guard = self.guard.map(|g| format!("@{g} ")).unwrap_or_default();
        if self.operands.is_empty() {
            return format!("{guard}{};", self.opcode);
        }
        format!("{guard}{} {};", self.opcode, self.operands)
    }

    fn with_opcode(&self, opcode: &str) -> String {
        Instruction { opcode, ..*self }.text()
    }

    fn with_operands(&self, operands: &str) -> String {
        Instruction { operands, ..*self }.text()
    }
}

/// Operations that are mistaken for each other; the types they have in common follow.
const OPERATORS: [(&str, &str); 20] = [
    ("add.", "sub."),
    ("sub.", "add."),
    ("mul.rn.", "add.rn."),
    ("mul.f32", "add.f32"),
    ("mul.lo.", "add."),
    ("min.", "max."),
    ("max.", "min."),
    ("and.", "or."),
    ("or.", "and."),
    ("xor.", "or."),
    ("shl.", "shr."),
    ("shr.u", "shl.b"),
    ("div.u", "rem.u"),
    ("div.rn.", "mul.rn."),
    ("ex2.approx.", "rcp.approx."),
    ("lg2.approx.", "ex2.approx."),
    ("rcp.approx.", "ex2.approx."),
    ("neg.", "abs."),
    ("not.", "mov."),
    ("bfe.u", "shr.u"),
];

/// Comparisons next to each other and opposite ones.
const COMPARISONS: [(&str, &str); 20] = [
    ("lt", "le"),
    ("lt", "ge"),
    ("le", "lt"),
    ("le", "gt"),
    ("gt", "ge"),
    ("gt", "le"),
    ("ge", "gt"),
    ("ge", "lt"),
    ("eq", "ne"),
    ("ne", "eq"),
    ("ltu", "leu"),
    ("leu", "ltu"),
    ("gtu", "geu"),
    ("geu", "gtu"),
    ("equ", "neu"),
    ("neu", "equ"),
    ("num", "nan"),
    ("nan", "num"),
    ("lo", "ls"),
    ("hi", "hs"),
];

/// Parts of opcodes that decide how, not what.
const MODIFIERS: [(&str, &str); 10] = [
    (".bfly.", ".up."),
    (".down.", ".up."),
    (".up.", ".down."),
    (".idx.", ".bfly."),
    (".ballot.", ".ballot."),
    (".any.", ".all."),
    (".all.", ".any."),
    (".row.col.", ".row.row."),
    (".x4.trans.", ".x4."),
    ("mul.wide.u16", "mul.wide.s16"),
];

/// Every change of a line.
pub fn changes(line: &str) -> Vec<Change> {
    let Some(instruction) = Instruction::parse(line) else {
        return Vec::new();
    };
    let original = instruction.text();
    let mut found = Vec::new();
    let mut add = |kind, to: String| {
        if to != original && !found.iter().any(|change: &Change| change.to == to) {
            found.push(Change { kind, to });
        }
    };
    let opcode = instruction.opcode;
    guards(&instruction, &mut add);
    // Nothing added is nothing subtracted.
    let adds_nothing = (opcode.starts_with("add.") || opcode.starts_with("sub."))
        && ["0", "0f00000000", "0f80000000"]
            .iter()
            .any(|zero| instruction.operands.ends_with(&format!(" {zero}")));
    for (from, to) in OPERATORS.into_iter().filter(|_| !adds_nothing) {
        if let Some(rest) = opcode.strip_prefix(from) {
            // The shifts differ in the letter of their type.
            let rest = match (from, to) {
                ("shl.", "shr.") => rest.replacen('b', "u", 1),
                ("not.", _) | ("neg.", _) if rest == "pred" => rest.to_owned(),
                _ => rest.to_owned(),
            };
            let operands = match (from, instruction.operands.rsplit_once(',')) {
                // The field's length is not a shift's operand.
                ("bfe.u", Some((operands, _))) => operands,
                _ => instruction.operands,
            };
            let opcode = format!("{to}{rest}");
            let changed = Instruction {
                opcode: &opcode,
                operands,
                ..instruction
            };
            add(Kind::Operator, changed.text());
        }
    }
    if let Some(rest) = opcode.strip_prefix("fma.") {
        // a·b + c without c.
        if let Some((product, _)) = instruction.operands.rsplit_once(',') {
            let opcode = format!("mul.{rest}");
            let changed = Instruction {
                opcode: &opcode,
                operands: product,
                ..instruction
            };
            add(Kind::Operator, changed.text());
        }
    }
    comparisons(&instruction, &mut add);
    for (from, to) in MODIFIERS {
        if opcode.contains(from) {
            add(
                Kind::Modifier,
                instruction.with_opcode(&opcode.replacen(from, to, 1)),
            );
        }
    }
    if ["bar.sync", "barrier.sync", "bar.warp.sync", "cp.async.wait"]
        .iter()
        .any(|barrier| opcode.starts_with(barrier))
    {
        add(Kind::Barrier, String::new());
    }
    if opcode.starts_with("st.") || opcode.starts_with("red.") {
        add(Kind::Store, String::new());
    }
    constants(&instruction, &mut add);
    offsets(&instruction, &mut add);
    exchanged(&instruction, &mut add);
    found
}

fn guards(instruction: &Instruction<'_>, add: &mut impl FnMut(Kind, String)) {
    let Some(guard) = instruction.guard else {
        return;
    };
    let turned = match guard.strip_prefix('!') {
        Some(plain) => plain.to_owned(),
        None => format!("!{guard}"),
    };
    let changed = Instruction {
        guard: Some(&turned),
        ..*instruction
    };
    add(Kind::Predicate, changed.text());
    // A branch never taken; anything else always done.
    if instruction.opcode.starts_with("bra") {
        add(Kind::Predicate, String::new());
    } else {
        let changed = Instruction {
            guard: None,
            ..*instruction
        };
        add(Kind::Predicate, changed.text());
    }
}

fn comparisons(instruction: &Instruction<'_>, add: &mut impl FnMut(Kind, String)) {
    let Some(rest) = instruction.opcode.strip_prefix("setp.") else {
        return;
    };
    let (comparison, ty) = rest.split_once('.').unwrap_or((rest, ""));
    for (from, to) in COMPARISONS {
        // Bits have no order.
        if comparison == from {
            let opcode = format!("setp.{to}.{ty}");
            add(Kind::Comparison, instruction.with_opcode(&opcode));
        }
    }
}

/// Opcodes whose last operand is no number but a mask, a label or a barrier's name.
const NOT_NUMBERS: [&str; 10] = [
    "bra", "bar.", "barrier.", "call", "ld.param", "st.param", "trap", "exit", "ret", "cvta",
];

fn constants(instruction: &Instruction<'_>, add: &mut impl FnMut(Kind, String)) {
    if NOT_NUMBERS
        .iter()
        .any(|opcode| instruction.opcode.starts_with(opcode))
    {
        return;
    }
    let operands: Vec<&str> = instruction.operands.split(',').map(str::trim).collect();
    let with = |index: usize, text: &str| {
        let mut operands = operands.clone();
        operands[index] = text;
        instruction.with_operands(&operands.join(", "))
    };
    for (index, operand) in operands.iter().enumerate().skip(1) {
        if let Ok(number) = operand.parse::<i64>() {
            // The mask of a collective names lanes; one less is undefined, not wrong.
            let is_mask = instruction.opcode.contains(".sync") && index + 1 == operands.len();
            if is_mask {
                continue;
            }
            for changed in [number.wrapping_add(1), number.wrapping_sub(1)] {
                // A shift by less than nothing is no instruction.
                if changed >= 0 || number < 0 || instruction.opcode.contains(".s") {
                    add(Kind::Constant, with(index, &changed.to_string()));
                }
            }
        } else if let Some(bits) = operand.strip_prefix("0f") {
            let Ok(bits) = u32::from_str_radix(bits, 16) else {
                continue;
            };
            let number = f32::from_bits(bits);
            let changed = if number == 0.0 { 1.0 } else { number * 1.5 };
            for changed in [changed, -number] {
                if changed.to_bits() != bits && !(number == 0.0 && changed == 0.0) {
                    add(
                        Kind::Constant,
                        with(index, &format!("0f{:08X}", changed.to_bits())),
                    );
                }
            }
        }
    }
}

fn offsets(instruction: &Instruction<'_>, add: &mut impl FnMut(Kind, String)) {
    let opcode = instruction.opcode;
    let access = ["ld.global", "st.global", "ld.shared", "st.shared"]
        .iter()
        .any(|access| opcode.starts_with(access));
    let Some(width) = access.then(|| width(opcode)).flatten() else {
        return;
    };
    let text = instruction.operands;
    let (Some(open), Some(close)) = (text.find('['), text.find(']')) else {
        return;
    };
    let address = &text[open + 1..close];
    for step in [width, -width] {
        let moved = match address.split_once('+') {
            Some((base, offset)) => match offset.trim().parse::<i64>() {
                Ok(offset) => format!("{base}+{}", offset + step),
                Err(_) => return,
            },
            None => format!("{address}+{step}"),
        };
        let operands = format!("{}[{moved}]{}", &text[..open], &text[close + 1..]);
        add(Kind::Offset, instruction.with_operands(&operands));
    }
}

/// Bytes of an access.
fn width(opcode: &str) -> Option<i64> {
    let bits: i64 = opcode.rsplit('.').next()?.get(1..)?.parse().ok()?;
    let vector = if opcode.contains(".v4") {
        4
    } else if opcode.contains(".v2") {
        2
    } else {
        1
    };
    Some(bits / 8 * vector)
}

/// Operations whose sources are not exchangeable.
const ORDERED: [&str; 8] = [
    "sub.", "div.", "rem.", "shl.", "shr.", "selp.", "mad.lo.", "fma.rn.",
];

fn exchanged(instruction: &Instruction<'_>, add: &mut impl FnMut(Kind, String)) {
    if !ORDERED
        .iter()
        .any(|opcode| instruction.opcode.starts_with(opcode))
    {
        return;
    }
    let operands: Vec<&str> = instruction.operands.split(',').map(str::trim).collect();
    let mut swapped = operands.clone();
    match operands.len() {
        // The product's factors may change places; a factor and the addend not.
        4 if !instruction.opcode.starts_with("selp.") => swapped.swap(2, 3),
        3 | 4 => swapped.swap(1, 2),
        _ => return,
    }
    add(
        Kind::Operands,
        instruction.with_operands(&swapped.join(", ")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let each = changes(line).into_iter();
        each.map(|change| format!("{}: {}", change.kind, change.to))
            .collect()
    }

    #[test]
    fn each_kind_of_mistake_is_made() {
        let lines = [
            "\tadd.s32 \t%r1, %r2, 4;",
            "\tmul.rn.f32 \t%r1, %r2, 0f3FB8AA3B;",
            "\tfma.rn.f32 \t%r1, %r2, %r3, %r4;",
            "\tsetp.lt.u32 \t%p1, %r1, %r2;",
            "\t@%p1 bra \t$L__BB0_2;",
            "\t@!%p1 st.global.b32 \t[%rd1], %r1;",
            "\tbar.sync \t0;",
            "\tld.shared.v4.b32 \t{%r1, %r2, %r3, %r4}, [%r5+16];",
            "\tshfl.sync.bfly.b32 \t%r1|%p1, %r2, 16, 31, -1;",
            "\tselp.f32 \t%r1, %r2, %r3, %p1;",
            "\tshr.u32 \t%r1, %r2, 5;",
        ];
        let all: Vec<String> = lines
            .iter()
            .map(|line| format!("{}\n    {}\n", line.trim(), of(line).join("\n    ")))
            .collect();
        insta::assert_snapshot!(all.join(""));
    }

    #[test]
    fn what_is_no_instruction_is_left_alone() {
        for line in [
            "",
            "\t.reg .b32 %r<4>;",
            "$L__BB0_1:",
            "// add.s32 %r1, %r2, 4;",
            "{",
            "}",
        ] {
            assert_eq!(changes(line), [], "{line}");
        }
    }
}
