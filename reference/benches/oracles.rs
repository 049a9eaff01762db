//! Speed of the oracles at sizes that grading meets. Throughput counts elements read, or floating
//! operations of the plain formula for products.
//!
//! `products/matmul` is to be held against NumPy's float64 `a @ b` of the same size on the same
//! machine (see README).
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use reference::attention::{self, Batch, Delta, Method, Options, Saved};
use reference::cases::beam::BeamStep;
use reference::cases::layernorm::LayerNorm;
use reference::cases::softmax_topk::SoftmaxTopK;
use reference::cases::ternary::Ternary;
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Precision, matmul};
use reference::tensor::View;
use reference::ternary::{Packing, forward};

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    group.sample_size(10);
    for (rows, width) in [(1024, 1024), (16_384, 64)] {
        let case = LayerNorm::<bf16>::with_shape(&mut Rng::new(1), rows, width);
        group.throughput(Throughput::Elements((rows * width) as u64));
        let name = BenchmarkId::new("layernorm-backward", format!("{rows}x{width}"));
        group.bench_function(name, |b| b.iter(|| case.oracle()));
    }
    for (rows, width) in [(8, 32_000), (2, 151_936)] {
        let case = SoftmaxTopK::<bf16>::with_shape(&mut Rng::new(2), rows, width);
        group.throughput(Throughput::Elements((rows * width) as u64));
        let name = BenchmarkId::new("softmax-topk", format!("{rows}x{width}"));
        group.bench_function(name, |b| b.iter(|| case.oracle()));
    }
    let case = BeamStep::<bf16>::with_shape(&mut Rng::new(3), [2, 4, 32_000]);
    group.throughput(Throughput::Elements(2 * 4 * 32_000));
    group.bench_function("beam-step/2x4x32000", |b| b.iter(|| case.oracle()));
    group.finish();
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("products");
    group.sample_size(10);
    let n = 1024;
    let draw = |seed| -> Vec<f64> {
        normal::<f32>(&mut Rng::new(seed), n * n, 1.0)
            .into_iter()
            .map(f64::from)
            .collect()
    };
    let (a, b) = (draw(1), draw(2));
    group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
    group.bench_function("matmul/1024", |bench| {
        bench.iter(|| matmul::plain(&a, &b, [n, n, n]));
    });
    let (m, n, k) = (64, 1024, 1024);
    match Ternary::<bf16>::with_shape(&mut Rng::new(3), [m, n, k], Packing::TwoBit) {
        Ok(case) => {
            let x = View::new("x", &case.x, [m, k]);
            group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
            group.bench_function("ternary-forward/64x1024x1024", |bench| {
                bench.iter(|| {
                    x.clone()
                        .and_then(|x| forward(x, &case.weights, Precision::of(DType::Bf16)))
                });
            });
        }
        Err(error) => eprintln!("ternary-forward: {error}"),
    }
    group.finish();
}

/// Elements are operations of the plain formula: 4·N²·D per head forward, 10·N²·D backward. The
/// bounds take about as many matrix products again (`examples/attention_speed.rs` counts them all).
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    group.sample_size(10);
    for (heads, n, d) in [(4, 512, 64), (2, 512, 128)] {
        let mut rng = Rng::new(4);
        let mut tensor = || normal::<bf16>(&mut rng, heads * n * d, 1.0);
        let (q, k, v, d_o) = (tensor(), tensor(), tensor(), tensor());
        let view = |name, data| View::new(name, data, [1, heads, n, d]);
        let batch = view("q", &q).and_then(|q| Batch::dense(q, view("k", &k)?, view("v", &v)?));
        let batch = batch.expect("shapes as drawn");
        let options = Options::new(1.0 / (d as f32).sqrt());
        let precision = Precision::of(DType::Bf16);
        let run = || attention::forward(&batch, &options, precision, Method::Tiled);
        let name = format!("1x{heads}x{n}x{d}");
        group.throughput(Throughput::Elements(4 * (heads * n * n * d) as u64));
        group.bench_function(BenchmarkId::new("forward", &name), |bench| bench.iter(run));

        let out = run().expect("checked above");
        let lse: Vec<f64> = out.lse.values().collect();
        let o: Vec<bf16> = out.o.values().map(bf16::from_f64).collect();
        group.throughput(Throughput::Elements(10 * (heads * n * n * d) as u64));
        group.bench_function(BenchmarkId::new("backward", &name), |bench| {
            bench.iter(|| {
                let delta = Delta::From(&o);
                let saved = Saved { lse: &lse, delta };
                attention::backward(&batch, saved, &d_o, &options, precision, Method::Tiled)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rows, products, attention);
criterion_main!(benches);
