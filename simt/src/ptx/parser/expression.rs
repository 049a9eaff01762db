//! Literals, constant expressions and operands.

use super::{Parser, Result};
use crate::ptx::ast::{Number, Operand, OperandKind};
use crate::ptx::lexer::TokenKind;

/// Binding strength of the binary operators, as in C.
fn strength(operator: &str) -> Option<u32> {
    Some(match operator {
        "*" | "/" | "%" => 10,
        "+" | "-" => 9,
        "<<" | ">>" => 8,
        "<" | ">" | "<=" | ">=" => 7,
        "==" | "!=" => 6,
        "&" => 5,
        "^" => 4,
        "|" => 3,
        "&&" => 2,
        "||" => 1,
        _ => return None,
    })
}

fn apply(operator: &str, a: i128, b: i128) -> Option<i128> {
    Some(match operator {
        "*" => a.wrapping_mul(b),
        "/" => a.checked_div(b)?,
        // Of 64 bits without a sign, as ptxas has it: -20 % 6 is 2.
        "%" => i128::from((a as u64).checked_rem(b as u64)?),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "<<" => a.checked_shl(u32::try_from(b).ok()?)?,
        ">>" => a.checked_shr(u32::try_from(b).ok()?)?,
        "<" => i128::from(a < b),
        ">" => i128::from(a > b),
        "<=" => i128::from(a <= b),
        ">=" => i128::from(a >= b),
        "==" => i128::from(a == b),
        "!=" => i128::from(a != b),
        "&" => a & b,
        "^" => a ^ b,
        "|" => a | b,
        "&&" => i128::from(a != 0 && b != 0),
        "||" => i128::from(a != 0 || b != 0),
        _ => return None,
    })
}

impl Parser<'_> {
    /// A constant expression.
    pub(super) fn number(&mut self) -> Result<Number> {
        let span = self.peek().span;
        let condition = self.binary(1)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        let yes = self.deeper(|p| p.number())?;
        self.expect(":")?;
        let no = self.deeper(|p| p.number())?;
        match condition {
            Number::Integer(0) => Ok(no),
            Number::Integer(_) => Ok(yes),
            _ => Err(self.error(span, "an integer is needed here")),
        }
    }

    /// A constant expression that must be an integer.
    pub(super) fn integer(&mut self) -> Result<i128> {
        let span = self.peek().span;
        match self.number()? {
            Number::Integer(value) => Ok(value),
            _ => Err(self.error(span, "an integer is needed here")),
        }
    }

    /// A constant integer that fits 32 bits without sign.
    pub(super) fn small(&mut self) -> Result<u32> {
        let span = self.peek().span;
        let value = self.integer()?;
        u32::try_from(value)
            .map_err(|_| self.error(span, "a number from 0 to 4294967295 is needed"))
    }

    fn binary(&mut self, weakest: u32) -> Result<Number> {
        let mut left = self.unary()?;
        loop {
            let TokenKind::Punct(operator) = self.peek().kind else {
                return Ok(left);
            };
            let Some(power) = strength(operator).filter(|p| *p >= weakest) else {
                return Ok(left);
            };
            let span = self.advance().span;
            let right = self.deeper(|p| p.binary(power + 1))?;
            left = match (left, right) {
                (Number::Integer(a), Number::Integer(b)) => apply(operator, a, b)
                    .map(Number::Integer)
                    .ok_or_else(|| self.error(span, "this constant has no value"))?,
                _ => return Err(self.error(span, "arithmetic on floating-point constants")),
            };
        }
    }

    fn unary(&mut self) -> Result<Number> {
        self.deeper(|p| p.unary_inner())
    }

    fn unary_inner(&mut self) -> Result<Number> {
        let token = self.peek();
        match token.kind {
            TokenKind::Integer(v) => {
                self.advance();
                Ok(Number::Integer(i128::from(v)))
            }
            TokenKind::Double(v) => {
                self.advance();
                Ok(Number::Double(v))
            }
            TokenKind::HexFloat(v) => {
                self.advance();
                Ok(Number::Single(v))
            }
            TokenKind::HexDouble(v) => {
                self.advance();
                Ok(Number::Double(f64::from_bits(v)))
            }
            TokenKind::Punct("(") => {
                self.advance();
                // A cast such as `(.s64)` says nothing that 128 bits do not hold.
                if self.dotted().is_some() {
                    self.advance();
                    self.expect(")")?;
                    return self.unary();
                }
                let value = self.number()?;
                self.expect(")")?;
                Ok(value)
            }
            TokenKind::Punct(op @ ("-" | "+" | "~" | "!")) => {
                self.advance();
                let value = self.unary()?;
                match (op, value) {
                    ("-", Number::Integer(v)) => Ok(Number::Integer(v.wrapping_neg())),
                    ("-", Number::Double(v)) => Ok(Number::Double(-v)),
                    ("-", Number::Single(v)) => Ok(Number::Single(v ^ 0x8000_0000)),
                    ("+", value) => Ok(value),
                    ("~", Number::Integer(v)) => Ok(Number::Integer(!v)),
                    ("!", Number::Integer(v)) => Ok(Number::Integer(i128::from(v == 0))),
                    _ => Err(self.error(token.span, "this operator needs an integer")),
                }
            }
            TokenKind::Word if self.text(token) == "WARP_SZ" => {
                self.advance();
                Ok(Number::Integer(32))
            }
            _ => Err(self.unexpected("a number")),
        }
    }

    /// One operand, a `d|p` pair included.
    pub(super) fn operand(&mut self) -> Result<Operand> {
        let first = self.deeper(|p| p.simple_operand())?;
        if !self.eat("|") {
            return Ok(first);
        }
        let second = self.deeper(|p| p.simple_operand())?;
        let span = first.span.to(second.span);
        Ok(Operand {
            kind: OperandKind::Pair(first.into(), second.into()),
            span,
        })
    }

    fn simple_operand(&mut self) -> Result<Operand> {
        let token = self.peek();
        let start = token.span;
        let kind = match token.kind {
            TokenKind::Punct("{") => OperandKind::Vector(self.operands_between("{", "}")?),
            TokenKind::Punct("[") => OperandKind::Address(self.operands_between("[", "]")?),
            TokenKind::Punct("(") if !self.is_number_in_parentheses() => {
                OperandKind::List(self.operands_between("(", ")")?)
            }
            TokenKind::Punct("!") if self.peek_at(1).kind == TokenKind::Word => {
                self.advance();
                OperandKind::Not(self.name("a predicate")?.text)
            }
            TokenKind::Word if self.text(token) == "_" => {
                self.advance();
                OperandKind::Sink
            }
            TokenKind::Word if self.text(token) != "WARP_SZ" => self.named()?,
            _ => OperandKind::Number(self.number()?),
        };
        Ok(Operand {
            kind,
            span: start.to(self.previous_span()),
        })
    }

    fn is_number_in_parentheses(&self) -> bool {
        // A list holds names; a constant expression never does.
        let next = self.peek_at(1);
        !matches!(next.kind, TokenKind::Word | TokenKind::Punct(")"))
            || self.text(next) == "WARP_SZ"
    }

    fn named(&mut self) -> Result<OperandKind> {
        let mut text = self.name("a name")?.text;
        // `%tid.x`, `%v.y`: the component belongs to the name when nothing stands between.
        while self.dotted().is_some() && self.peek().span.start == self.previous_span().end {
            let part = self.advance();
            text = format!("{text}{}", self.text(part)).into();
        }
        let sign = match self.peek().kind {
            TokenKind::Punct("+") => 1,
            TokenKind::Punct("-") => -1,
            _ => return Ok(OperandKind::Name(text)),
        };
        let span = self.advance().span;
        let value = self.integer()?;
        let value = i64::try_from(value.wrapping_mul(sign));
        let offset = value.map_err(|_| self.error(span, "this offset does not fit 64 bits"))?;
        Ok(OperandKind::Offset(text, offset))
    }

    fn operands_between(&mut self, open: &str, close: &str) -> Result<Vec<Operand>> {
        self.expect(open)?;
        let mut operands = Vec::new();
        while !self.eat(close) {
            if !operands.is_empty() {
                self.expect(",")
                    .map_err(|_| self.unexpected(&format!("`,` or `{close}`")))?;
            }
            operands.push(self.operand()?);
        }
        Ok(operands)
    }
}
