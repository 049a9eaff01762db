//! Attention once more, from the definitions: whole matrices, the softmax as the textbook has it,
//! its gradient through the full Jacobian. Nothing here is shared with the oracle.

/// One head of one sequence: `q[n×d]`, `k[m×d]`, `v[m×d]`, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) n: usize,
    pub(crate) m: usize,
    pub(crate) d: usize,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) scale: f64,
    pub(crate) cap: Option<f64>,
    /// `seen[i][j]`.
    pub(crate) seen: Vec<Vec<bool>>,
}

pub(crate) struct Output {
    pub(crate) o: Vec<f64>,
    pub(crate) lse: Vec<f64>,
}

pub(crate) struct Gradient {
    pub(crate) dq: Vec<f64>,
    pub(crate) dk: Vec<f64>,
    pub(crate) dv: Vec<f64>,
}

impl Head {
    /// Scores before the cap.
    fn product(&self, i: usize, j: usize) -> f64 {
        (0..self.d)
            .map(|c| self.q[i * self.d + c] * self.k[j * self.d + c])
            .sum::<f64>()
            * self.scale
    }

    fn score(&self, i: usize, j: usize) -> f64 {
        let x = self.product(i, j);
        self.cap.map_or(x, |cap| cap * (x / cap).tanh())
    }

    /// The softmax matrix and log-sum-exp.
    fn softmax(&self) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut p = vec![vec![0.0; self.m]; self.n];
        let mut lse = vec![f64::NEG_INFINITY; self.n];
        for i in 0..self.n {
            let seen: Vec<usize> = (0..self.m).filter(|&j| self.seen[i][j]).collect();
            let top = seen
                .iter()
                .map(|&j| self.score(i, j))
                .fold(f64::NEG_INFINITY, f64::max);
            if top == f64::NEG_INFINITY {
                continue;
            }
            let total: f64 = seen.iter().map(|&j| (self.score(i, j) - top).exp()).sum();
            lse[i] = top + total.ln();
            for &j in &seen {
                p[i][j] = (self.score(i, j) - top).exp() / total;
            }
        }
        (p, lse)
    }

    pub(crate) fn forward(&self) -> Output {
        let (p, lse) = self.softmax();
        let mut o = vec![0.0; self.n * self.d];
        for i in 0..self.n {
            for j in (0..self.m).filter(|&j| p[i][j] != 0.0) {
                for c in 0..self.d {
                    o[i * self.d + c] += p[i][j] * self.v[j * self.d + c];
                }
            }
        }
        Output { o, lse }
    }

    /// Gradient of `Σ d_o∘o`, the softmax differentiated as `∂p_j/∂s_k = p_j(δ_jk − p_k)`.
    pub(crate) fn backward(&self, d_o: &[f64]) -> Gradient {
        let (p, _) = self.softmax();
        let (n, m, d) = (self.n, self.m, self.d);
        let mut g = Gradient {
            dq: vec![0.0; n * d],
            dk: vec![0.0; m * d],
            dv: vec![0.0; m * d],
        };
        for i in 0..n {
            let seen: Vec<usize> = (0..m).filter(|&j| self.seen[i][j]).collect();
            let dp = |j: usize| -> f64 { (0..d).map(|c| d_o[i * d + c] * self.v[j * d + c]).sum() };
            let dp: Vec<f64> = (0..m)
                .map(|j| if self.seen[i][j] { dp(j) } else { 0.0 })
                .collect();
            for &k in &seen {
                let mut ds = 0.0;
                for &j in &seen {
                    let jacobian = p[i][j] * (f64::from(u8::from(j == k)) - p[i][k]);
                    ds += dp[j] * jacobian;
                }
                let slope = self.cap.map_or(1.0, |cap| {
                    let cosh = (self.product(i, k) / cap).cosh();
                    1.0 / (cosh * cosh)
                });
                for c in 0..d {
                    g.dq[i * d + c] += self.scale * slope * ds * self.k[k * d + c];
                    g.dk[k * d + c] += self.scale * slope * ds * self.q[i * d + c];
                    g.dv[k * d + c] += p[i][k] * d_o[i * d + c];
                }
            }
        }
        g
    }

    /// `Σ d_o∘o`, for finite differences.
    pub(crate) fn loss(&self, d_o: &[f64]) -> f64 {
        self.forward().o.iter().zip(d_o).map(|(o, g)| o * g).sum()
    }
}
