//! The small language of launch sizes and conditions in a manifest: `ceil_div(V, 1024)`,
//! `dtype(q) == f16 && D <= 64`.
//!
//! Whole numbers are 64-bit and an overflow is an error, so no launch is silently smaller than it
//! was written. `/` of whole numbers is the floor, as in the manifests' own prose.

mod evaluate;
mod parse;

pub use evaluate::{Scope, Value};

use std::fmt;
use std::ops::Range;

/// An expression that can be read. Names are looked up when it is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

/// Why an expression has no value, with the place in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}\n    {text}\n    {}", caret(.text, .at))]
pub struct ExpressionError {
    /// The whole expression.
    pub text: String,
    /// The part of it that is wrong, in bytes.
    pub at: Range<usize>,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages speak for the fields")]
pub enum ErrorKind {
    #[error("`{0}` cannot stand in an expression")]
    Character(char),
    #[error("a string that does not end")]
    OpenString,
    #[error("`{0}` is not a number that can be held in 64 bits")]
    Number(String),
    #[error("{expected} was expected here, not {found}")]
    Expected { expected: String, found: String },
    #[error("deeper than {0} parentheses")]
    Depth(usize),
    #[error("there is no `{name}`; there are {known}")]
    Unknown { name: String, known: String },
    #[error(
        "there is no function `{0}`; there are ceil_div, min, max, next_pow2, default, bytes, dtype and has"
    )]
    Function(String),
    #[error("`{function}` takes {takes}")]
    Arguments {
        function: &'static str,
        takes: &'static str,
    },
    #[error("`{operator}` does not take {left} and {right}")]
    Types {
        operator: &'static str,
        left: String,
        right: String,
    },
    #[error("{expected} is needed here, this is {found}")]
    Type {
        expected: &'static str,
        found: String,
    },
    #[error("a division by zero")]
    DivisionByZero,
    #[error("the result does not fit in 64 bits")]
    Overflow,
}

fn caret(text: &str, at: &Range<usize>) -> String {
    let before = text.get(..at.start).map_or(at.start, |t| t.chars().count());
    let marked = text.get(at.clone()).map_or(1, |t| t.chars().count());
    format!("{}{}", " ".repeat(before), "^".repeat(marked.max(1)))
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    at: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Literal(Value),
    Name(String),
    Call(String, Vec<Node>),
    Negate(Box<Node>),
    Not(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    const fn text(self) -> &'static str {
        match self {
            Operator::Or => "||",
            Operator::And => "&&",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterEqual => ">=",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
        }
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// With the place, when it is not one.
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        let root = parse::parse(text)?;
        Ok(Expression {
            text: text.to_owned(),
            root,
        })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value where names mean what `scope` says.
    ///
    /// # Errors
    /// With the place, when it has none.
    pub fn value(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        evaluate::evaluate(&self.root, scope).map_err(|(at, kind)| self.error(at, kind))
    }

    /// Its value as a size.
    ///
    /// # Errors
    /// When it has none, or it is not a whole number that is zero or more.
    pub fn size(&self, scope: &Scope) -> Result<u64, ExpressionError> {
        let value = self.value(scope)?;
        let size = match &value {
            Value::Int(size) => u64::try_from(*size).ok(),
            _ => None,
        };
        size.ok_or_else(|| {
            let expected = "a whole number of zero or more";
            self.wrong(expected, &value)
        })
    }

    /// Its value as a condition.
    ///
    /// # Errors
    /// When it has none, or it is neither true nor false.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        match self.value(scope)? {
            Value::Bool(holds) => Ok(holds),
            value => Err(self.wrong("a condition", &value)),
        }
    }

    fn wrong(&self, expected: &'static str, value: &Value) -> ExpressionError {
        let found = value.describe();
        self.error(self.root.at.clone(), ErrorKind::Type { expected, found })
    }

    fn error(&self, at: Range<usize>, kind: ErrorKind) -> ExpressionError {
        let text = self.text.clone();
        ExpressionError { text, at, kind }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
