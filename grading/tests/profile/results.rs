//! Results, their schema, and what is computed of them.

use super::data;
use super::json_schema::check;
use grading::profile::assembled::Assembler;
use grading::profile::results::{Counted, Machine, Results, Row, SCHEMA, read};
use grading::profile::{count, shape};
use serde_json::Value;
use simt::count::roofline::gpu;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/results.json")).expect("JSON")
}

fn value(name: &str) -> Value {
    let text = std::fs::read_to_string(data(name)).expect("it is there");
    serde_json::from_str(&text).expect("JSON")
}

fn conforms(value: &Value) -> Result<(), String> {
    let schema = schema();
    check(&schema, &schema, value, "results")
}

#[test]
fn the_synthetic_files_conform_and_read_back_the_same() {
    for name in ["results-new.json", "results-old.json"] {
        conforms(&value(name)).expect("it conforms");
        let results = read(&data(name)).expect("it is read");
        assert_eq!(serde_json::to_value(&results).expect("JSON"), value(name));
    }
}

#[test]
fn what_a_bench_writes_conforms() {
    let shapes = shape::of_task("ternary-matmul");
    let shape = shapes[0]
        .resized([("N", 16), ("K", 128)])
        .expect("its sizes");
    let h200 = gpu("H200").expect("known");
    let profile = count::builtin(&shape, None, h200, &mut Assembler::none()).expect("it runs");
    let rows = profile.rungs.iter().map(|rung| Row {
        task: profile.task.clone(),
        op: profile.op.clone(),
        shape: profile.shape.clone(),
        rung: rung.rung.clone(),
        counted: Counted::of(&profile.sizes, rung),
        timed_sizes: None,
        compulsory_bytes: None,
        plain_flops: None,
        timed: None,
        why_blank: Some("no GPU".into()),
    });
    let results = Results {
        schema: SCHEMA,
        machine: Machine::default(),
        ceilings: None,
        bounds_for: "H200".into(),
        rows: rows.collect(),
        peers: None,
        tests: Default::default(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/results.json");
    results.write(&path).expect("written");
    let text = std::fs::read_to_string(&path).expect("read");
    conforms(&serde_json::from_str(&text).expect("JSON")).expect("it conforms");
    assert_eq!(read(&path).expect("read"), results);
}

#[test]
fn what_does_not_conform_is_found() {
    let spoilt = |spoil: fn(&mut Value)| {
        let mut value = value("results-new.json");
        spoil(&mut value);
        conforms(&value)
    };
    assert!(spoilt(|v| v["schema"] = 2.into()).is_err());
    assert!(spoilt(|v| v["rows"][0]["timed"]["median_us"] = "fast".into()).is_err());
    // An estimate has no column.
    assert!(spoilt(|v| v["rows"][3]["estimated_us"] = 1.0.into()).is_err());
    assert!(spoilt(|v| drop(v["rows"][0].as_object_mut().and_then(|r| r.remove("rung")))).is_err());
    assert!(spoilt(|_| ()).is_ok());
}

#[test]
fn rates_are_of_the_bytes_and_operations_at_the_timed_sizes() {
    let results = read(&data("results-new.json")).expect("it is read");
    let best = results.best();
    // 12.5 µs and not 20; 40 MB in 12.5 µs are 3200 GB/s, 80 % of a copy at 4000.
    let rows = best["synthetic-rows"];
    assert_eq!((rows.rung.as_str(), rows.gbs()), ("Split", Some(3200.0)));
    assert_eq!(results.share(rows), Some((0.8, "copy")));
    // 40 GFLOP in 100 µs are 400 TFLOP/s, half of a matmul at 800.
    let attention = best["synthetic-attention"];
    assert_eq!(attention.tflops(), Some(400.0));
    assert_eq!(results.share(attention), Some((0.5, "matmul")));
    assert!(!best.contains_key("synthetic-walk"));
}
