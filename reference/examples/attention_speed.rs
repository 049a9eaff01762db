//! How fast the attention and matmul oracles are, as a rate of float64 operations:
//!
//! ```text
//! cargo run --release -p reference --example attention_speed -- [B H N D] [PYTHON]
//! ```
//!
//! Two rates, which answer two questions. *Values* counts the matrix products that the values need, 2·N²·D
//! each: 2 forward (scores, o), 5 backward (scores, dP, dq, dk, dv): what attention without bounds would
//! be counted as. *All* counts the products that the oracle makes, so it says how busy the core is kept:
//! forward 5 (also Σ|q||k|, the accumulated error, what errors of scores move), for dq 6 and for dk and dv
//! 8; with weights rounded to 16 bits 2, 2 and 4 more. Those that only bounds need, 3 of 5 and 7 of 14,
//! with 16-bit weights 5 of 7 and 13 of 20, are in float32. A causal pass sees, and is credited with, half
//! of the pairs. Exponentials and all other arithmetic are not counted, but take their time.
//!
//! The yardstick is NumPy's float64 product on as many threads, measured before and after by a Python
//! that has NumPy (`golden/numpy_rate.py`); its BLAS chooses its kernels itself, whatever the
//! environment says. Both rates are per second of CPU that the process has used, so per core: on a
//! machine that is shared, time on the wall measures the others too.

use std::process::Command;
use std::time::Instant;

use half::bf16;
use reference::View;
use reference::attention::{Batch, Delta, Method, Options, Saved, backward, forward};
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Element, Precision, matmul};

/// NumPy's rate of a 2048³ product in GFLOP/s of one core.
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

/// Seconds that this process has computed, on all its threads: time that others take from a shared
/// machine does not count. Wall time where the system does not tell.
fn cpu_seconds(since: Instant) -> f64 {
    let thread = |entry: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
        let text = std::fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    let of_threads = std::fs::read_dir("/proc/self/task")
        .ok()
        .and_then(|tasks| tasks.map(thread).sum::<Option<f64>>());
    of_threads.map_or_else(|| since.elapsed().as_secs_f64(), |ns| ns * 1e-9)
}

/// What a run took, the best of several.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    cpu: f64,
}

/// A result and the shortest times of seven runs, or of as many as begin within three seconds (NumPy's
/// is the shortest of five).
fn best<R>(run: impl Fn() -> reference::Result<R>) -> (R, Seconds) {
    let begin = Instant::now();
    let timed = || {
        let (start, before) = (Instant::now(), cpu_seconds(Instant::now()));
        let out = run().expect("finite");
        let seconds = Seconds {
            wall: start.elapsed().as_secs_f64(),
            cpu: cpu_seconds(start) - before,
        };
        (out, seconds)
    };
    let (mut out, mut best) = timed();
    for _ in 0..6 {
        if begin.elapsed().as_secs_f64() > 3.0 {
            break;
        }
        let seconds;
        (out, seconds) = timed();
        best.wall = best.wall.min(seconds.wall);
        best.cpu = best.cpu.min(seconds.cpu);
    }
    (out, best)
}

/// The most memory this process has held, as the system says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown", str::trim).to_owned()
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
        DType::F32 => ([2.0, 5.0], [5.0, 14.0]),
        _ => ([2.0, 7.0], [5.0, 20.0]),
    };
    let report = |what: &str, seconds: Seconds, products: [f64; 2]| {
        let rate = |products: f64| {
            let rate = products * product / seconds.cpu * 1e-9;
            let ratio = numpy.map_or(String::new(), |numpy| format!(" ({:.2})", rate / numpy));
            format!("{rate:.1} GFLOP/s{ratio}")
        };
        let [values, all] = products.map(rate);
        println!(
            "{what} {} B{b} H{h} N{n} D{d} causal {causal}: {:.2} s, {:.2} s of CPU; a core: values \
             {values}, all {all} of NumPy's; peak memory {}",
            T::DTYPE.name(),
            seconds.wall,
            seconds.cpu,
            peak_memory(),
        );
    };
    let (out, seconds) = best(|| forward(&batch, &options, precision, Method::Tiled));
    report("forward ", seconds, forward_products);

    let lse: Vec<f32> = out.lse.values().map(|x| x as f32).collect();
    let o: Vec<T> = out.o.values().map(T::from_f64).collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::From(&o),
    };
    let gradients = || backward(&batch, saved, &d_o, &options, precision, Method::Tiled);
    report("backward", best(gradients).1, backward_products);
}

/// `numbers::matmul`, which the ternary oracle multiplies with, 1024 in each direction.
fn measure_matmul(numpy: Option<f64>) {
    let n = 1024;
    let mut rng = Rng::new(1);
    let mut draw = || -> Vec<f64> {
        let numbers = normal::<f32>(&mut rng, n * n, 1.0);
        numbers.into_iter().map(f64::from).collect()
    };
    let (a, b) = (draw(), draw());
    let (_, seconds) = best(|| Ok(matmul::plain(&a, &b, [n, n, n])));
    let rate = 2.0 * (n * n * n) as f64 / seconds.cpu * 1e-9;
    let ratio = numpy.map_or(String::new(), |numpy| {
        format!(" ({:.2} of NumPy's)", rate / numpy)
    });
    println!(
        "matmul 1024³: {:.3} s, {:.3} s of CPU; a core: {rate:.1} GFLOP/s{ratio}",
        seconds.wall, seconds.cpu,
    );
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
            println!("NumPy 2048³: {rate:.1} GFLOP/s a core");
            Some(rate)
        }
        Err(error) => {
            println!("no yardstick: {error}");
            None
        }
    };
    let numpy = yardstick();
    measure_matmul(numpy);
    for causal in [false, true] {
        measure::<f32>(shape, causal, numpy);
        measure::<bf16>(shape, causal, numpy);
    }
    yardstick();
}
