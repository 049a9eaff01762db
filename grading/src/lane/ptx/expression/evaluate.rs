//! Tree to value.

use super::{ErrorKind, Kind, Node, Operator};
use crate::submission::{self, Call};
use crate::tensor::DType;
use std::collections::BTreeMap;
use std::ops::Range;

/// What an expression may be worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text, in single quotes: `'two-bit'`.
    Text(String),
    /// An element type: `f16`.
    DType(DType),
}

impl Value {
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Int(number) => format!("the whole number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Bool(value) => format!("{value}"),
            Value::Text(text) => format!("the text '{text}'"),
            Value::DType(dtype) => format!("the type {dtype}"),
        }
    }
}

/// What names mean.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    names: BTreeMap<String, Value>,
    types: BTreeMap<String, DType>,
    bytes: BTreeMap<String, i64>,
    /// Tensors and parameters of the call.
    present: Vec<String>,
}

impl Scope {
    /// The sizes and parameters of a call by name, `dtype` for the type of its first input, and
    /// the types of its tensors.
    pub fn of(call: &Call) -> Scope {
        let mut scope = Scope::default();
        for (name, size) in &call.sizes {
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            scope.define(name, Value::Int(size));
        }
        for (name, value) in &call.parameters {
            scope.present.push(name.clone());
            scope.define(
                name,
                match value {
                    submission::Value::Bool(value) => Value::Bool(*value),
                    submission::Value::Int(value) => Value::Int(*value),
                    submission::Value::Float(value) => Value::Float(*value),
                    submission::Value::Text(text) => Value::Text(text.clone()),
                    // A list is an argument for a buffer, not a size: only `has` speaks of it.
                    submission::Value::Ints(_) => continue,
                },
            );
        }
        for input in &call.inputs {
            scope.present.push(input.name.clone());
            scope.types.insert(input.name.clone(), input.tensor.dtype());
        }
        let mut size = |name: &str, bytes: usize| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            scope.bytes.insert(name.to_owned(), bytes);
        };
        for input in &call.inputs {
            size(&input.name, input.tensor.bytes().len());
        }
        for output in &call.outputs {
            size(&output.name, output.bytes());
        }
        for output in &call.outputs {
            scope.present.push(output.name.clone());
            scope.types.insert(output.name.clone(), output.dtype);
        }
        if let Some(first) = call.inputs.first() {
            scope.define("dtype", Value::DType(first.tensor.dtype()));
        }
        scope
    }

    /// Gives a name a value.
    pub fn define(&mut self, name: &str, value: Value) {
        self.names.insert(name.to_owned(), value);
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

type Evaluated = Result<Value, (Range<usize>, ErrorKind)>;

pub(super) fn evaluate(node: &Node, scope: &Scope) -> Evaluated {
    let fail = |kind| Err((node.at.clone(), kind));
    match &node.kind {
        Kind::Literal(value) => Ok(value.clone()),
        Kind::Name(name) => match scope.names.get(name) {
            Some(value) => Ok(value.clone()),
            None => fail(ErrorKind::Unknown {
                name: name.clone(),
                known: scope.known(),
            }),
        },
        Kind::Negate(inner) => match evaluate(inner, scope)? {
            Value::Int(number) => match number.checked_neg() {
                Some(number) => Ok(Value::Int(number)),
                None => fail(ErrorKind::Overflow),
            },
            Value::Float(number) => Ok(Value::Float(-number)),
            other => fail(ErrorKind::Type {
                expected: "a number",
                found: other.describe(),
            }),
        },
        Kind::Not(inner) => Ok(Value::Bool(!truth(inner, scope)?)),
        // The second side is not looked at when the first decides: `has(x) && x > 2`.
        Kind::Binary(Operator::And, left, right) => {
            Ok(Value::Bool(truth(left, scope)? && truth(right, scope)?))
        }
        Kind::Binary(Operator::Or, left, right) => {
            Ok(Value::Bool(truth(left, scope)? || truth(right, scope)?))
        }
        Kind::Binary(operator, left, right) => {
            let (left, right) = (evaluate(left, scope)?, evaluate(right, scope)?);
            binary(*operator, &left, &right).map_err(|kind| (node.at.clone(), kind))
        }
        Kind::Call(name, arguments) => call(node, name, arguments, scope),
    }
}

fn truth(node: &Node, scope: &Scope) -> Result<bool, (Range<usize>, ErrorKind)> {
    match evaluate(node, scope)? {
        Value::Bool(value) => Ok(value),
        other => Err((
            node.at.clone(),
            ErrorKind::Type {
                expected: "a condition",
                found: other.describe(),
            },
        )),
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Result<Value, ErrorKind> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mismatch = || ErrorKind::Types {
        operator: operator.text(),
        left: left.describe(),
        right: right.describe(),
    };
    let order = match (left, right) {
        (Value::Int(a), Value::Int(b)) => {
            if let Some(result) = whole(operator, *a, *b)? {
                return Ok(Value::Int(result));
            }
            Some(a.cmp(b))
        }
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let number = |value: &Value| match value {
                Value::Int(number) => *number as f64,
                Value::Float(number) => *number,
                _ => f64::NAN,
            };
            let (a, b) = (number(left), number(right));
            match operator {
                Operator::Add => return Ok(Value::Float(a + b)),
                Operator::Subtract => return Ok(Value::Float(a - b)),
                Operator::Multiply => return Ok(Value::Float(a * b)),
                Operator::Divide => return Ok(Value::Float(a / b)),
                _ => a.partial_cmp(&b),
            }
        }
        _ => {
            let same = match (left, right) {
                (Value::Bool(a), Value::Bool(b)) => a == b,
                (Value::Text(a), Value::Text(b)) => a == b,
                (Value::DType(a), Value::DType(b)) => a == b,
                _ => return Err(mismatch()),
            };
            return match operator {
                Operator::Equal => Ok(Value::Bool(same)),
                Operator::NotEqual => Ok(Value::Bool(!same)),
                _ => Err(mismatch()),
            };
        }
    };
    Ok(Value::Bool(match operator {
        Operator::Equal => order == Some(Equal),
        Operator::NotEqual => order != Some(Equal),
        Operator::Less => order == Some(Less),
        Operator::LessEqual => matches!(order, Some(Less | Equal)),
        Operator::Greater => order == Some(Greater),
        Operator::GreaterEqual => matches!(order, Some(Greater | Equal)),
        _ => return Err(mismatch()),
    }))
}

/// Arithmetic on whole numbers; nothing for a comparison.
fn whole(operator: Operator, a: i64, b: i64) -> Result<Option<i64>, ErrorKind> {
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide | Operator::Remainder if b == 0 => return Err(ErrorKind::DivisionByZero),
        Operator::Divide => a
            .checked_rem_euclid(b)
            .and_then(|rest| a.checked_sub(rest))
            .and_then(|a| a.checked_div(b)),
        Operator::Remainder => a.checked_rem_euclid(b),
        _ => return Ok(None),
    };
    result.map(Some).ok_or(ErrorKind::Overflow)
}

fn call(node: &Node, name: &str, arguments: &[Node], scope: &Scope) -> Evaluated {
    let fail = |kind| Err((node.at.clone(), kind));
    let ints = |function, takes, fewest: usize, most: usize| {
        if arguments.len() < fewest || arguments.len() > most {
            return Err((node.at.clone(), ErrorKind::Arguments { function, takes }));
        }
        arguments
            .iter()
            .map(|argument| match evaluate(argument, scope)? {
                Value::Int(number) => Ok(number),
                other => Err((
                    argument.at.clone(),
                    ErrorKind::Type {
                        expected: "a whole number",
                        found: other.describe(),
                    },
                )),
            })
            .collect::<Result<Vec<i64>, _>>()
    };
    let tensor = |function, takes| match arguments {
        [
            Node {
                kind: Kind::Name(name),
                ..
            },
        ] => Ok(name),
        _ => Err((node.at.clone(), ErrorKind::Arguments { function, takes })),
    };
    match name {
        "ceil_div" => {
            let numbers = ints("ceil_div", "two whole numbers", 2, 2)?;
            let (a, b) = (numbers[0], numbers[1]);
            if b <= 0 {
                return fail(ErrorKind::DivisionByZero);
            }
            match a.checked_add(b - 1) {
                Some(sum) => Ok(Value::Int(sum.div_euclid(b))),
                None => fail(ErrorKind::Overflow),
            }
        }
        "min" | "max" => {
            let function = if name == "min" { "min" } else { "max" };
            let numbers = ints(function, "one whole number or more", 1, usize::MAX)?;
            let found = if name == "min" {
                numbers.into_iter().min()
            } else {
                numbers.into_iter().max()
            };
            Ok(Value::Int(found.unwrap_or_default()))
        }
        "next_pow2" => {
            let numbers = ints("next_pow2", "one whole number", 1, 1)?;
            let power = u64::try_from(numbers[0].max(1))
                .ok()
                .and_then(u64::checked_next_power_of_two);
            match power.and_then(|power| i64::try_from(power).ok()) {
                Some(power) => Ok(Value::Int(power)),
                None => fail(ErrorKind::Overflow),
            }
        }
        "has" => {
            let name = tensor("has", "the name of a tensor or parameter")?;
            Ok(Value::Bool(scope.present.contains(name)))
        }
        "default" => match arguments {
            [
                Node {
                    kind: Kind::Name(name),
                    ..
                },
                otherwise,
            ] => match scope.names.get(name) {
                Some(value) => Ok(value.clone()),
                None => evaluate(otherwise, scope),
            },
            _ => fail(ErrorKind::Arguments {
                function: "default",
                takes: "a name and what it is worth when the call does not have it",
            }),
        },
        "bytes" => {
            let name = tensor("bytes", "the name of a tensor")?;
            match scope.bytes.get(name) {
                Some(bytes) => Ok(Value::Int(*bytes)),
                None => fail(ErrorKind::Unknown {
                    name: name.clone(),
                    known: scope.bytes.keys().cloned().collect::<Vec<_>>().join(", "),
                }),
            }
        }
        "dtype" => {
            let name = tensor("dtype", "the name of a tensor")?;
            match scope.types.get(name) {
                Some(dtype) => Ok(Value::DType(*dtype)),
                None => fail(ErrorKind::Unknown {
                    name: name.clone(),
                    known: scope.types.keys().cloned().collect::<Vec<_>>().join(", "),
                }),
            }
        }
        _ => fail(ErrorKind::Function(name.to_owned())),
    }
}
