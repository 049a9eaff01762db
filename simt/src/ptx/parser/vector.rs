//! Vector registers. `.reg .v4 .f32 v;` declares `v.x`, `v.y`, `v.z` and `v.w` (or `.r .g .b .a`);
//! where an operand is `v`, it stands for `{v.x, v.y, v.z, v.w}`.

use crate::ptx::ast::{ELEMENTS, Operand, OperandKind, Statement};
use smol_str::SmolStr;
use std::collections::HashMap;

/// The other names of elements.
const COLOURS: [&str; 4] = ["r", "g", "b", "a"];

/// How a vector was declared: `v`, or `v<count>`; and its number of elements.
type Declared = (Option<u32>, u32);

/// Writes out the vectors among the operands of a body.
pub(super) fn write_out(statements: &mut [Statement]) {
    Scopes::default().block(statements);
}

#[derive(Default)]
struct Scopes(Vec<HashMap<SmolStr, Declared>>);

impl Scopes {
    fn block(&mut self, statements: &mut [Statement]) {
        let mut level = HashMap::new();
        for statement in statements.iter() {
            if let Statement::Registers { vector, names, .. } = statement
                && *vector > 1
            {
                let each = names
                    .iter()
                    .map(|(n, count)| (n.text.clone(), (*count, *vector)));
                level.extend(each);
            }
        }
        self.0.push(level);
        for statement in statements {
            match statement {
                Statement::Block(inner) => self.block(inner),
                Statement::Instruction(i) => i.operands.iter_mut().for_each(|o| self.operand(o)),
                _ => {}
            }
        }
        self.0.pop();
    }

    /// Elements of the vector of a name, if it is one.
    fn elements(&self, name: &str) -> Option<usize> {
        let of = |base: &str, index: Option<u32>| {
            let found = self.0.iter().rev().find_map(|level| level.get(base));
            let (count, vector) = *found?;
            let declared = match (count, index) {
                (None, None) => true,
                (Some(count), Some(index)) => index < count,
                _ => false,
            };
            declared.then_some(vector as usize)
        };
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let numbered = (name.len() - digits..name.len()).find_map(|at| {
            let (base, index) = name.split_at(at);
            let plain = index == "0" || !index.starts_with('0');
            of(base, Some(index.parse().ok().filter(|_| plain)?))
        });
        of(name, None).or(numbered)
    }

    fn operand(&self, operand: &mut Operand) {
        let span = operand.span;
        match &mut operand.kind {
            OperandKind::Name(name) => {
                if let Some(count) = self.elements(name) {
                    let element = |e: &&str| Operand {
                        kind: OperandKind::Name(format!("{name}.{e}").into()),
                        span,
                    };
                    operand.kind =
                        OperandKind::Vector(ELEMENTS[..count].iter().map(element).collect());
                } else if let Some((base, element)) = name.rsplit_once('.')
                    && let Some(at) = COLOURS.iter().position(|c| *c == element)
                    && self.elements(base).is_some()
                {
                    *name = format!("{base}.{}", ELEMENTS[at]).into();
                }
            }
            OperandKind::Vector(parts) | OperandKind::Address(parts) | OperandKind::List(parts) => {
                parts.iter_mut().for_each(|p| self.operand(p));
            }
            OperandKind::Pair(a, b) => {
                self.operand(a);
                self.operand(b);
            }
            OperandKind::Not(_)
            | OperandKind::Number(_)
            | OperandKind::Offset(..)
            | OperandKind::Sink => {}
        }
    }
}
