//! The corpus itself: the front end reads every module, every header can be parsed, and the
//! notation of expected elements means what `ops/README.md` says.

mod support;

use support::element::{Dtype, Element};
use support::op_test::OpTest;

#[test]
fn every_module_parses() {
    let mut found = support::files(&support::folder("ops"), "ptx");
    found.extend(support::files(&support::folder("foreign"), "ptx"));
    assert!(
        found.len() > 2000,
        "only {} modules: the corpus is not whole",
        found.len()
    );
    let failures: Vec<String> = (found.iter())
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            let problem = simt::ptx::parse(&text).err()?;
            Some(format!("{}:\n{problem}", path.display()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} modules\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_header_is_checked() {
    let good =
        "// test: x\n// launch: grid 1 1 1 block 2 1 1\n// out0: out u32 2\n//   -> 00000001 *\n";
    assert_eq!(OpTest::parse(good).expect("well formed").buffers.len(), 1);
    let bad = [
        good.replace("u32 2", "u32 3"),
        good.replace("u32", "u33"),
        good.replace("-> ", ""),
        good.replace("block", "blocks"),
        good.replace("// out0: out u32 2\n//   -> 00000001 *\n", ""),
        good.replace("00000001", "zzz"),
    ];
    for text in bad {
        assert!(OpTest::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn a_wrong_buffer_is_reported() {
    let text = "// launch: grid 1 1 1 block 1 1 1\n// in0: in u16 2\n//   0001 0002\n\
                // out0: out f32 2\n//   -> 3f800000 nan\n";
    let test = OpTest::parse(text).expect("well formed");
    let [input, output] = &test.buffers[..] else {
        panic!("two buffers")
    };
    assert!(input.compare(&[1, 0, 2, 0]).is_ok());
    assert!(
        input.compare(&[1, 0, 3, 0]).is_err(),
        "inputs must not change"
    );
    let bytes = |a: u32, b: u32| [a.to_le_bytes(), b.to_le_bytes()].concat();
    assert!(output.compare(&bytes(0x3f80_0000, 0x7fff_ffff)).is_ok());
    assert!(output.compare(&bytes(0x3f80_0001, 0x7fff_ffff)).is_err());
    assert!(output.compare(&bytes(0x3f80_0000, 0x7f80_0000)).is_err());
    assert!(
        output.compare(&output.contents()).is_err(),
        "garbage is not right"
    );
}

#[test]
fn notation() {
    let f32s = Dtype::from_name("f32").expect("known");
    let ok = |text: &str, got: u64| Element::parse(text).expect(text).admits(f32s, got);
    assert!(ok("3f800000", 0x3f80_0000) && !ok("3f800000", 0x3f80_0001));
    assert!(ok("nan", 0x7fff_ffff) && ok("nan", 0xff80_0001) && !ok("nan", 0x7f80_0000));
    assert!(ok("*", 7));
    assert!(ok("bf800000..3f800000", 0x8000_0000));
    assert!(
        !ok("bf800000..3f800000", 0x7fc0_0000),
        "NaN lies in no interval"
    );
    assert!(!ok("3f800000..3f800002", 0x3f80_0003));
    assert!(ok("3f800000|nan", 0x7fc0_0000) && !ok("3f800000|nan", 0));
    assert!(Element::parse("xyz").is_err());
}
