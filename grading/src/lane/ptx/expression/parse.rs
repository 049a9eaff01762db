//! Text to tree: a scanner, and one function a level of precedence.

use super::{ErrorKind, ExpressionError, Kind, Node, Operator, Value};
use crate::tensor::DType;
use std::ops::Range;

/// Deeper nesting than this is nobody's launch, and would overflow the stack.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn describe(&self) -> String {
        match self {
            Token::Int(number) => format!("`{number}`"),
            Token::Float(number) => format!("`{number}`"),
            Token::Text(text) => format!("`'{text}'`"),
            Token::Name(name) => format!("`{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".into(),
        }
    }
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 17] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", "!",
];

type Place = (Range<usize>, ErrorKind);

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let error = |(at, kind): Place| ExpressionError {
        text: text.to_owned(),
        at,
        kind,
    };
    let tokens = scan(text).map_err(error)?;
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
    };
    let node = parser.binary(0).map_err(error)?;
    parser.end().map_err(error)?;
    Ok(node)
}

fn scan(text: &str) -> Result<Vec<(Range<usize>, Token)>, Place> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let until = |keep: fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
        let (length, token) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first.is_ascii_digit() {
            let length = until(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
            let digits = rest[..length].replace('_', "");
            let token = if digits.contains('.') {
                digits.parse().ok().map(Token::Float)
            } else {
                digits.parse().ok().map(Token::Int)
            };
            let wrong = || (at..at + length, ErrorKind::Number(rest[..length].into()));
            (length, token.ok_or_else(wrong)?)
        } else if first.is_alphabetic() || first == '_' {
            let length = until(|c| c.is_alphanumeric() || c == '_');
            (length, Token::Name(rest[..length].into()))
        } else if first == '\'' {
            let Some(end) = rest[1..].find('\'') else {
                return Err((at..text.len(), ErrorKind::OpenString));
            };
            (end + 2, Token::Text(rest[1..=end].into()))
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (sign.len(), Token::Sign(sign))
        } else {
            let place = at..at + first.len_utf8();
            return Err((place, ErrorKind::Character(first)));
        };
        tokens.push((at..at + length, token));
        at += length;
    }
    tokens.push((text.len()..text.len(), Token::End));
    Ok(tokens)
}

struct Parser {
    tokens: Vec<(Range<usize>, Token)>,
    next: usize,
    depth: usize,
}

/// Operators from the loosest to the tightest.
const LEVELS: [&[Operator]; 5] = [
    &[Operator::Or],
    &[Operator::And],
    &[
        Operator::Equal,
        Operator::NotEqual,
        Operator::LessEqual,
        Operator::GreaterEqual,
        Operator::Less,
        Operator::Greater,
    ],
    &[Operator::Add, Operator::Subtract],
    &[Operator::Multiply, Operator::Divide, Operator::Remainder],
];

impl Parser {
    fn peek(&self) -> &(Range<usize>, Token) {
        // The end is never passed: `take` stops at it.
        &self.tokens[self.next]
    }

    fn take(&mut self) -> (Range<usize>, Token) {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let found = self.peek().1 == Token::Sign(sign);
        if found {
            self.take();
        }
        found
    }

    fn demand(&mut self, sign: &'static str) -> Result<Range<usize>, Place> {
        if self.peek().1 == Token::Sign(sign) {
            return Ok(self.take().0);
        }
        Err(self.unexpected(format!("`{sign}`")))
    }

    fn unexpected(&self, expected: String) -> Place {
        let (at, token) = self.peek();
        let found = token.describe();
        (at.clone(), ErrorKind::Expected { expected, found })
    }

    fn end(&self) -> Result<(), Place> {
        if self.peek().1 == Token::End {
            return Ok(());
        }
        Err(self.unexpected("an operator or the end".into()))
    }

    fn binary(&mut self, level: usize) -> Result<Node, Place> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|o| self.takes(o.text())) {
            let right = self.binary(level + 1)?;
            left = Node {
                at: left.at.start..right.at.end,
                kind: Kind::Binary(*operator, Box::new(left), Box::new(right)),
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, Place> {
        let at = self.peek().0.clone();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((at, ErrorKind::Depth(MAX_DEPTH)));
        }
        let node = if self.takes("-") {
            let inner = self.unary()?;
            Node {
                at: at.start..inner.at.end,
                kind: Kind::Negate(Box::new(inner)),
            }
        } else if self.takes("!") {
            let inner = self.unary()?;
            Node {
                at: at.start..inner.at.end,
                kind: Kind::Not(Box::new(inner)),
            }
        } else {
            self.atom()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn atom(&mut self) -> Result<Node, Place> {
        let literal = |at, value| Node {
            at,
            kind: Kind::Literal(value),
        };
        match self.peek().1.clone() {
            Token::Int(number) => Ok(literal(self.take().0, Value::Int(number))),
            Token::Float(number) => Ok(literal(self.take().0, Value::Float(number))),
            Token::Text(text) => Ok(literal(self.take().0, Value::Text(text))),
            Token::Sign("(") => {
                let open = self.take().0;
                let mut inner = self.binary(0)?;
                inner.at = open.start..self.demand(")")?.end;
                Ok(inner)
            }
            Token::Name(name) => {
                let at = self.take().0;
                if self.takes("(") {
                    let mut arguments = Vec::new();
                    if self.peek().1 != Token::Sign(")") {
                        arguments.push(self.binary(0)?);
                        while self.takes(",") {
                            arguments.push(self.binary(0)?);
                        }
                    }
                    let end = self.demand(")")?.end;
                    let kind = Kind::Call(name, arguments);
                    let at = at.start..end;
                    return Ok(Node { at, kind });
                }
                Ok(match (name.as_str(), DType::from_name(&name)) {
                    ("true", _) => literal(at, Value::Bool(true)),
                    ("false", _) => literal(at, Value::Bool(false)),
                    (_, Some(dtype)) => literal(at, Value::DType(dtype)),
                    _ => Node {
                        at,
                        kind: Kind::Name(name),
                    },
                })
            }
            _ => Err(self.unexpected("a number, a name or `(`".into())),
        }
    }
}
