//! Speed of the oracles at sizes that grading meets. Throughput counts elements read, or floating
//! operations of the plain formula for products.
//!
//! `products/matmul` is to be held against NumPy's float64 `a @ b` of the same size on the same
//! machine (see README).
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use reference::cases::beam::BeamStep;
use reference::cases::layernorm::LayerNorm;
use reference::cases::softmax_topk::SoftmaxTopK;
use reference::cases::ternary::Ternary;
use reference::cases::{Rng, normal};
use reference::numbers::{Precision, matmul};
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
                    x.clone().and_then(|x| {
                        forward(
                            x,
                            &case.weights,
                            Precision::of(reference::numbers::DType::Bf16),
                        )
                    })
                });
            });
        }
        Err(error) => eprintln!("ternary-forward: {error}"),
    }
    group.finish();
}

criterion_group!(benches, rows, products);
criterion_main!(benches);
