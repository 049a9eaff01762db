//! Vectors made by PyTorch in float64 (`golden/attention.py`).

use std::collections::HashMap;
use std::path::Path;

use reference::View;
use reference::attention::{Batch, Delta, Method, Options, Saved, Window, backward, forward};
use reference::numbers::{BoundedTensor, DType, Precision};
use safetensors::SafeTensors;

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data();
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let bytes = file.tensor(name).unwrap().data();
    bytes
        .chunks_exact(8)
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn numbers<T: std::str::FromStr>(list: &str) -> Vec<T> {
    list.split(',').filter_map(|x| x.parse().ok()).collect()
}

fn options(metadata: &HashMap<String, String>) -> Options {
    let window: Vec<usize> = numbers(&metadata["window"]);
    Options {
        scale: metadata["scale"].parse::<f64>().unwrap() as f32,
        causal: metadata["causal"] == "1",
        window: (!window.is_empty()).then(|| Window {
            left: Some(window[0]),
            right: Some(window[1]),
            sinks: metadata["sinks"].parse().unwrap(),
        }),
        softcap: metadata["softcap"].parse().ok(),
    }
}

/// Within 10⁻¹² of the largest element; −inf where torch has it.
fn close(what: &str, got: &BoundedTensor, expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let top = expected
        .iter()
        .filter(|x| x.is_finite())
        .fold(0.0, |m: f64, x| m.max(x.abs()));
    for (i, (got, &expected)) in got.values().zip(expected).enumerate() {
        let near = got == expected || (got - expected).abs() <= 1e-12 * top;
        assert!(near, "{what}[{i}]: {got:e}, torch {expected:e}");
    }
}

fn check(path: &Path) {
    let name = path.file_stem().unwrap().to_string_lossy();
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let options = options(&metadata);
    let shape: Vec<usize> = numbers(&metadata["shape"]);
    let [b, hq, hkv, nq, nk, d] = shape[..] else {
        panic!("{name}: shape {shape:?}")
    };
    let (q, k, v, d_o) = (
        f32s(&file, "q"),
        f32s(&file, "k"),
        f32s(&file, "v"),
        f32s(&file, "do"),
    );
    let batch = Batch::dense(
        View::new("q", &q, [b, hq, nq, d]).unwrap(),
        View::new("k", &k, [b, hkv, nk, d]).unwrap(),
        View::new("v", &v, [b, hkv, nk, d]).unwrap(),
    )
    .unwrap();
    let (o, lse) = (f64s(&file, "o"), f64s(&file, "lse"));
    let precision = Precision::of(DType::F32);
    let products: Vec<f64> = o.iter().zip(&d_o).map(|(o, &g)| o * f64::from(g)).collect();
    let delta: Vec<f64> = products.chunks(d).map(|row| row.iter().sum()).collect();
    for method in [Method::Tiled, Method::Plain] {
        let out = forward(&batch, &options, precision, method).unwrap();
        close(&format!("{name} {method:?} o"), &out.o, &o);
        close(&format!("{name} {method:?} lse"), &out.lse, &lse);
        let saved = Saved {
            lse: &lse,
            delta: Delta::Given(&delta),
        };
        let g = backward(&batch, saved, &d_o, &options, precision, method).unwrap();
        close(&format!("{name} {method:?} dq"), &g.dq, &f64s(&file, "dq"));
        close(&format!("{name} {method:?} dk"), &g.dk, &f64s(&file, "dk"));
        close(&format!("{name} {method:?} dv"), &g.dv, &f64s(&file, "dv"));
    }
}

#[test]
fn pytorch_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("attention-") && name.ends_with(".safetensors") {
            check(&path);
            checked += 1;
        }
    }
    assert!(checked >= 13, "only {checked} files found");
}
