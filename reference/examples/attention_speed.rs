//! How fast the attention oracles are, as a rate of float64 operations:
//!
//! ```text
//! cargo run --release -p reference --example attention_speed -- [B H N D] [PYTHON]
//! ```
//!
//! Counted are the matrix products that the oracle makes: 4 for the forward pass in f32 (scores,
//! their size, o and its bound, and one for the errors of scores: 5 in all; 7 with weights rounded
//! to 16 bits), 8 and 6 for the two halves of the backward pass (2 and 4 more). The yardstick is
//! NumPy's float64 product on as many cores, measured before and after by a Python that has NumPy
//! (`golden/numpy_rate.py`); its BLAS chooses its kernels itself, whatever the environment says.

use std::process::Command;
use std::time::Instant;

use half::bf16;
use reference::View;
use reference::attention::{Batch, Delta, Method, Options, Saved, backward, forward};
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Element, Precision};

/// NumPy's rate of a 2048³ product in GFLOP/s.
fn numpy_rate(python: &str) -> Result<f64, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/numpy_rate.py");
    let output = Command::new(python)
        .arg(script)
        .env_remove("OPENBLAS_CORETYPE")
        .env_remove("OPENBLAS_L2_SIZE")
        .env(
            "OPENBLAS_NUM_THREADS",
            rayon::current_num_threads().to_string(),
        )
        .output()
        .map_err(|error| format!("{python}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("2048x2048x2048: ")?.split(' ').next());
    rate.and_then(|rate| rate.parse().ok())
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn measure<T: Element>([b, h, n, d]: [usize; 4], causal: bool, numpy: Option<f64>) {
    let mut rng = Rng::new(1);
    let shape = [b, h, n, d];
    let mut tensor = || normal::<T>(&mut rng, b * h * n * d, 1.0);
    let (q, k, v, d_o) = (tensor(), tensor(), tensor(), tensor());
    let view = |name, data| View::new(name, data, shape).expect("sizes as made");
    let batch = Batch::dense(view("q", &q), view("k", &k), view("v", &v)).expect("shapes as made");
    let scale = 1.0 / (d as f32).sqrt();
    let options = Options {
        causal,
        ..Options::new(scale)
    };
    let precision = Precision::of(T::DTYPE);

    // A causal pass sees half of the pairs.
    let pairs = (b * h * n * n) as f64 * if causal { 0.5 } else { 1.0 };
    let product = 2.0 * pairs * d as f64;
    let (forward_products, backward_products) = match T::DTYPE {
        DType::F32 => (5.0, 14.0),
        _ => (7.0, 20.0),
    };
    let report = |what: &str, seconds: f64, products: f64| {
        let rate = products * product / seconds * 1e-9;
        let ratio = numpy.map_or(String::new(), |numpy| {
            format!(", {:.2} of NumPy's", rate / numpy)
        });
        println!(
            "{what} {} B{b} H{h} N{n} D{d} causal {causal}: {seconds:.2} s, {rate:.1} GFLOP/s{ratio}",
            T::DTYPE.name()
        );
    };
    let start = Instant::now();
    let out = forward(&batch, &options, precision, Method::Tiled).expect("finite");
    report("forward ", start.elapsed().as_secs_f64(), forward_products);

    let lse: Vec<f32> = out.lse.values().map(|x| x as f32).collect();
    let o: Vec<T> = out.o.values().map(T::from_f64).collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::From(&o),
    };
    let start = Instant::now();
    backward(&batch, saved, &d_o, &options, precision, Method::Tiled).expect("finite");
    report("backward", start.elapsed().as_secs_f64(), backward_products);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = arguments.iter().map_while(|x| x.parse().ok()).collect();
    let python = arguments
        .get(sizes.len())
        .map_or("python3", String::as_str)
        .to_owned();
    let shape = sizes.try_into().unwrap_or([2, 8, 4096, 64]);
    println!("{} threads", rayon::current_num_threads());
    let yardstick = || match numpy_rate(&python) {
        Ok(rate) => {
            println!("NumPy 2048³: {rate:.1} GFLOP/s");
            Some(rate)
        }
        Err(error) => {
            println!("no yardstick: {error}");
            None
        }
    };
    let numpy = yardstick();
    for causal in [false, true] {
        measure::<f32>(shape, causal, numpy);
        measure::<bf16>(shape, causal, numpy);
    }
    yardstick();
}
