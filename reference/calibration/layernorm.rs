//! Layernorm backward in f32.

use reference::cases::build;
use reference::cases::layernorm::LayerNorm;
use reference::numbers::Element;

use super::Report;
use super::arithmetic::{STYLES, Style};

pub fn trial<T: Element>(seed: u64, report: &mut Report) {
    let Some(case) = report.built(seed, build::<LayerNorm<T>>(seed)) else {
        return;
    };
    let expected = case.oracle().expect("a built case has an oracle");
    for style in STYLES {
        let (dx, dgamma, dbeta) = honest(&case, style);
        let wide = |v: Vec<f32>| v.into_iter().map(f64::from);
        report.compare(
            "dx",
            style.name,
            seed,
            &expected.dx,
            dx.into_iter().map(T::to_f64),
        );
        report.compare("dgamma", style.name, seed, &expected.dgamma, wide(dgamma));
        if let Some(expected) = &expected.dbeta {
            report.compare("dbeta", style.name, seed, expected, wide(dbeta));
        }
    }
}

fn honest<T: Element>(case: &LayerNorm<T>, style: Style) -> (Vec<T>, Vec<f32>, Vec<f32>) {
    let read = |v: &[T]| v.iter().map(|x| x.to_f64() as f32).collect::<Vec<f32>>();
    let (x, dy) = (read(&case.x), read(&case.dy));
    let gamma = case.gamma.as_deref().map(read);
    let residual = case.residual.as_deref().map(read);
    let (width, n) = (case.width, case.width as f32);
    let mut xhat = vec![0.0f32; x.len()];
    let mut dx = Vec::with_capacity(x.len());
    for r in 0..case.rows {
        let row = r * width..(r + 1) * width;
        let (mean, rstd) = (case.mean.as_ref().map_or(0.0, |m| m[r]), case.rstd[r]);
        for i in row.clone() {
            xhat[i] = (x[i] - mean) * rstd;
        }
        let g: Vec<f32> = row
            .clone()
            .map(|i| dy[i] * gamma.as_ref().map_or(1.0, |g| g[i % width]))
            .collect();
        let c1 = if case.mean.is_some() {
            style.div(style.sum(&g), n)
        } else {
            0.0
        };
        let c2 = style.div(style.dot(&g, &xhat[row.clone()]), n);
        for (i, g) in row.zip(g) {
            // Two associations of the same three terms.
            let inner = match style.approximate {
                true => style.mul_add(-xhat[i], c2, g - c1),
                false => g - style.mul_add(xhat[i], c2, c1),
            };
            let gradient = match &residual {
                Some(residual) => style.mul_add(rstd, inner, residual[i]),
                None => rstd * inner,
            };
            dx.push(T::from_f64(f64::from(gradient)));
        }
    }
    let column = |v: &[f32], i: usize| v.iter().skip(i).step_by(width).copied().collect::<Vec<_>>();
    let (dgamma, dbeta) = (0..width)
        .map(|i| {
            let dy = column(&dy, i);
            (style.dot(&dy, &column(&xhat, i)), style.sum(&dy))
        })
        .unzip();
    (dx, dgamma, dbeta)
}
