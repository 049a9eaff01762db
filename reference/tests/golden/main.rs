//! Vectors made by PyTorch and NumPy in float64 (`golden/*.py`): every file there is checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reference::View;
use reference::layernorm::{Backward, Forward, Norm, backward, forward};
use reference::numbers::{DType, Precision};
use reference::softmax_topk::{Input, Ks, topk};
use reference::ternary::{self, Packed, Packing, quantise_absmean};
use safetensors::SafeTensors;

struct Golden {
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl Golden {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        Self { bytes, metadata }
    }

    fn raw(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap()
            .tensor(name)
            .unwrap()
            .data()
            .to_vec()
    }

    fn shape<const N: usize>(&self, name: &str) -> [usize; N] {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(name).unwrap().shape().try_into().unwrap()
    }

    fn items<const BYTES: usize, T>(&self, name: &str, read: fn([u8; BYTES]) -> T) -> Vec<T> {
        self.raw(name)
            .chunks_exact(BYTES)
            .map(|b| read(b.try_into().unwrap()))
            .collect()
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        self.items(name, f32::from_le_bytes)
    }

    fn f64s(&self, name: &str) -> Vec<f64> {
        self.items(name, f64::from_le_bytes)
    }

    /// Within 10⁻¹² of the largest element: sums that cancel have no relative accuracy of their own.
    fn close(&self, name: &str, got: impl ExactSizeIterator<Item = f64>) {
        let expected = self.f64s(name);
        assert_eq!(got.len(), expected.len(), "{name}");
        let top = expected
            .iter()
            .filter(|x| x.is_finite())
            .fold(0.0, |m: f64, x| m.max(x.abs()));
        for (i, (got, expected)) in got.zip(expected).enumerate() {
            let near = got == expected || (got - expected).abs() <= 1e-12 * top;
            assert!(near, "{name}[{i}]: {got:e}, golden {expected:e}");
        }
    }
}

/// The golden files of a family.
fn files(family: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let all = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(&format!("{family}-")) && name.ends_with(".safetensors")
    };
    let files: Vec<PathBuf> = all.filter(wanted).collect();
    assert!(!files.is_empty(), "no golden vectors of {family}");
    files
}

#[test]
fn layernorm_agrees_with_pytorch() {
    let precision = Precision::scalar(DType::F32);
    for path in files("layernorm") {
        let golden = Golden::read(&path);
        let shape @ [rows, width] = golden.shape("x");
        let rms = golden.metadata["rms"] == "1";
        let (x, dy, gamma) = (golden.f32s("x"), golden.f32s("dy"), golden.f32s("gamma"));
        let (mean, rstd) = (golden.f32s("saved_mean"), golden.f32s("saved_rstd"));
        let x = View::new("x", &x, shape).unwrap();
        let gamma = View::new("gamma", &gamma, [width]).unwrap();
        let gamma = (golden.metadata["affine"] == "1").then_some(gamma);
        let input = Backward {
            x,
            dy: View::new("dy", &dy, shape).unwrap(),
            gamma,
            mean: (!rms).then(|| View::new("mean", &mean, [rows]).unwrap()),
            rstd: View::new("rstd", &rstd, [rows]).unwrap(),
            residual: None,
        };
        let gradients = backward(&input, precision).unwrap();
        golden.close("dx", gradients.dx.values());
        golden.close("dgamma", gradients.dgamma.values());
        if let Some(dbeta) = gradients.dbeta {
            golden.close("dbeta", dbeta.values());
        }
        let eps = golden.metadata["eps"].parse::<f64>().unwrap() as f32;
        let norm = if rms { Norm::Rms } else { Norm::Layer };
        let normalised = forward(
            &Forward {
                x,
                gamma,
                beta: None,
                eps,
                norm,
            },
            precision,
        )
        .unwrap();
        golden.close("y", normalised.y.values());
        golden.close("rstd", normalised.rstd.values());
        if let Some(mean) = normalised.mean {
            golden.close("mean", mean.values());
        }
    }
}

#[test]
fn softmax_topk_agrees_with_pytorch() {
    for path in files("softmax_topk") {
        let golden = Golden::read(&path);
        let logits = golden.f32s("logits");
        let shape = golden.shape("logits");
        let [_, k] = golden.shape("index");
        let temperature = golden.metadata["temperature"].parse::<f64>().unwrap() as f32;
        let logits = View::new("logits", &logits, shape).unwrap();
        let input = Input {
            logits,
            k: Ks::Uniform(k),
            temperature,
            mask: None,
        };
        let oracle = topk(&input, Precision::scalar(DType::F32)).unwrap();
        let index: Vec<i64> = oracle
            .rows
            .iter()
            .flat_map(|row| row.index())
            .map(i64::from)
            .collect();
        assert_eq!(
            index,
            golden.items("index", i64::from_le_bytes),
            "{}",
            path.display()
        );
        let prob: Vec<f64> = oracle
            .rows
            .iter()
            .flat_map(|row| {
                row.index()
                    .into_iter()
                    .map(|i| row.probability(i as usize).value)
            })
            .collect();
        golden.close("prob", prob.into_iter());
        golden.close("lse", oracle.rows.iter().map(|row| row.lse.value));
    }
}

#[test]
fn ternary_agrees_with_numpy() {
    let precision = Precision::of(DType::F32);
    for path in files("ternary") {
        let golden = Golden::read(&path);
        let shape @ [n, k] = golden.shape("w");
        let [m, _] = golden.shape("x");
        let (w, x, dy) = (golden.f32s("w"), golden.f32s("x"), golden.f32s("dy"));
        let w = View::new("W", &w, shape).unwrap();
        let x = View::new("x", &x, [m, k]).unwrap();
        let dy = View::new("dy", &dy, [m, n]).unwrap();
        for (name, packing) in [("two_bit", Packing::TwoBit), ("base3", Packing::Base3)] {
            let packed = quantise_absmean(w, packing).unwrap();
            assert_eq!(
                packed.bytes(),
                golden.raw(name),
                "{name} of {}",
                path.display()
            );
            assert_eq!(
                Packed::from_bytes(packing, shape, &golden.raw(name)).unwrap(),
                packed
            );
            golden.close(
                "y",
                ternary::forward(x, &packed, precision).unwrap().values(),
            );
            golden.close(
                "dx",
                ternary::input_gradient(dy, &packed, precision)
                    .unwrap()
                    .values(),
            );
        }
        golden.close(
            "dw",
            ternary::weight_gradient(dy, x, precision).unwrap().values(),
        );
    }
}
