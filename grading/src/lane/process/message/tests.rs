use super::*;
use crate::submission::OutputSpec;
use proptest::prelude::*;

fn named(name: &str, dtype: DType, shape: &[usize]) -> Named {
    let count: usize = shape.iter().product::<usize>() * dtype.bytes();
    let bytes = (0..count).map(|i| i as u8).collect();
    Named {
        name: name.into(),
        tensor: Tensor::new(dtype, shape.to_vec(), bytes).expect("counted"),
    }
}

fn call() -> Call {
    Call {
        task: "softmax-topk",
        op: "softmax-topk",
        sizes: [("R".to_owned(), 2)].into(),
        parameters: [("K".to_owned(), crate::submission::Value::Int(1))].into(),
        inputs: vec![
            named("mask", DType::U8, &[3]),
            named("logits", DType::Bf16, &[2, 3]),
        ],
        outputs: ["prob", "index"]
            .map(|name| OutputSpec {
                name: name.into(),
                dtype: DType::F32,
                shape: vec![2],
            })
            .into(),
    }
}

fn answer(header: &str, body: Vec<u8>) -> RawAnswer {
    RawAnswer {
        header: header.as_bytes().to_vec(),
        body,
    }
}

#[test]
fn the_table_of_a_request_says_where_the_bytes_are() {
    let call = call();
    let bytes = request(&call, "abc").expect("a request");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8")) as usize;
    let (header, body) = (&bytes[16..16 + number(0)], &bytes[16 + number(0)..]);
    assert_eq!(body.len(), number(8));
    let header: serde_json::Value = serde_json::from_slice(header).expect("JSON");
    assert_eq!(header["nonce"], "abc");
    assert_eq!(header["parameters"]["K"], 1);
    for (entry, input) in header["inputs"]
        .as_array()
        .expect("a table")
        .iter()
        .zip(&call.inputs)
    {
        let at = entry["offset"].as_u64().expect("an offset") as usize;
        let length = entry["bytes"].as_u64().expect("a length") as usize;
        assert_eq!(&body[at..at + length], input.tensor.bytes());
    }
}

#[test]
fn outputs_come_in_the_order_of_the_contract() {
    let sent = [
        named("index", DType::F32, &[2]),
        named("prob", DType::F32, &[2]),
    ];
    let answer = answer(r#"{"nonce":"n"}"#, safetensors(&sent).expect("a body"));
    let outputs = answer.outputs(&call(), "n").expect("outputs");
    let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["prob", "index"]);
}

#[test]
fn each_kind_of_wrong_answer_has_its_kind_of_failure() {
    let body = || safetensors(&[named("prob", DType::F32, &[2])]).expect("a body");
    let failure = |header: &str, body| {
        answer(header, body)
            .outputs(&call(), "n")
            .expect_err(header)
    };
    assert!(matches!(failure("garbage", body()), Failure::Malformed(_)));
    assert!(matches!(failure("{}", body()), Failure::Malformed(_)));
    assert!(matches!(
        failure(r#"{"nonce":"m"}"#, body()),
        Failure::Cheat(_)
    ));
    let unsupported = r#"{"nonce":"n","unsupported":"no bf16"}"#;
    assert_eq!(
        failure(unsupported, Vec::new()),
        Failure::Unsupported("no bf16".into())
    );
    assert!(matches!(
        failure(r#"{"nonce":"n","error":"x"}"#, Vec::new()),
        Failure::Crash(_)
    ));
    assert!(matches!(
        failure(r#"{"nonce":"n"}"#, vec![7; 40]),
        Failure::Malformed(_)
    ));
    assert!(matches!(
        failure(r#"{"nonce":"n"}"#, Vec::new()),
        Failure::Malformed(_)
    ));
}

#[test]
fn lengths_are_not_believed() {
    let message = |header: u64, body: u64| {
        let mut bytes = header.to_le_bytes().to_vec();
        bytes.extend(body.to_le_bytes());
        bytes
    };
    let read = |bytes: &[u8]| read_answer(&mut &bytes[..], 100).expect_err("no answer");
    assert_eq!(
        read(&message(2, 4 << 30)),
        ReadError::TooLong {
            bytes: 4 << 30,
            most: 100
        }
    );
    assert_eq!(
        read(&message(1 << 40, 0)),
        ReadError::Header { bytes: 1 << 40 }
    );
    assert_eq!(read(&message(20, 5)), ReadError::Closed { after: 16 });
    assert_eq!(read(b"half"), ReadError::Closed { after: 4 });
    assert_eq!(read(b""), ReadError::Closed { after: 0 });
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(header in ".{0,40}", body in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = answer(&header, body.clone()).outputs(&call(), "n");
        let _ = read_answer(&mut &body[..], 64);
    }
}
