use super::{Expression, Scope, Value};
use crate::submission::{self, Call, Named};
use crate::tensor::{DType, Tensor};
use proptest::prelude::*;

fn scope() -> Scope {
    let tensor = Tensor::new(DType::Bf16, vec![2], vec![0; 4]).expect("four bytes");
    Scope::of(&Call {
        task: "softmax-topk",
        op: "softmax-topk",
        sizes: [("R".to_owned(), 5), ("V".to_owned(), 1000)].into(),
        parameters: [
            ("temperature".to_owned(), submission::Value::Float(0.5)),
            (
                "packing".to_owned(),
                submission::Value::Text("two-bit".into()),
            ),
            ("causal".to_owned(), submission::Value::Bool(true)),
        ]
        .into(),
        inputs: vec![Named {
            name: "logits".into(),
            tensor,
        }],
        outputs: Vec::new(),
    })
}

fn value(text: &str) -> Value {
    Expression::parse(text)
        .and_then(|expression| expression.value(&scope()))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn arithmetic_is_that_of_whole_numbers() {
    for (text, expected) in [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("-7 / 2", -4),
        ("-7 % 2", 1),
        ("7 / 2", 3),
        ("ceil_div(V, 128)", 8),
        ("ceil_div(0, 128)", 0),
        ("ceil_div(-1, 4)", 0),
        ("min(R, 3) + max(R, 7, 2)", 10),
        ("next_pow2(V)", 1024),
        ("next_pow2(1)", 1),
        ("1_000 * R", 5000),
        ("bytes(logits) / 2", 2),
        ("default(R, 7) + default(window, 7)", 12),
    ] {
        assert_eq!(value(text), Value::Int(expected), "{text}");
    }
}

#[test]
fn conditions_compare_what_can_be_compared() {
    for (text, expected) in [
        ("dtype == bf16 && V == 1000", true),
        ("dtype(logits) == f16 || R >= 6", false),
        ("!causal", false),
        ("packing == 'two-bit'", true),
        ("packing != 'base-3'", true),
        ("temperature < 1", true),
        ("temperature == 0.5", true),
        ("has(mask) && mask > 3", false),
        ("has(temperature)", true),
        ("R < V && V <= 1000", true),
    ] {
        assert_eq!(value(text), Value::Bool(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_is_shown_with_a_caret() {
    let errors: Vec<String> = [
        "",
        "R +",
        "R $ 2",
        "(R",
        "R R",
        "'two",
        "99999999999999999999",
        "Q * 2",
        "ceil_div(R)",
        "ceil_div(R, 0)",
        "R / (R - 5)",
        "log2(R)",
        "causal + 1",
        "1 && true",
        "packing < 'x'",
        "9223372036854775807 + R",
        "dtype(mask) == f16",
        "dtype == 16",
    ]
    .iter()
    .map(|text| {
        let error = Expression::parse(text).and_then(|e| e.value(&scope()));
        error.expect_err(text).to_string()
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_size_is_never_negative_and_a_condition_never_a_number() {
    let parsed = |text| Expression::parse(text).expect(text);
    assert_eq!(parsed("V - 1").size(&scope()), Ok(999));
    assert!(parsed("R - 6").size(&scope()).is_err());
    assert!(parsed("R > 1").size(&scope()).is_err());
    assert!(parsed("R").holds(&scope()).is_err());
}

#[test]
fn nesting_does_not_overflow_the_stack() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Expression::parse(&deep).is_err());
    assert!(Expression::parse(&"-".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-+*/%()<>=!&|,.0-9RVa-z_' ]{0,40}|.{0,20}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.value(&scope());
        }
    }
}
