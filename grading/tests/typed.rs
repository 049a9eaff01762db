//! All eight tasks through the typed traits, with the plain implementations behind them: each
//! method rebuilds the untyped call from its typed inputs alone, which must be the call that came,
//! and what it answers is graded.

use grading::grade::{Live, Options, Paint, render_check, run_check};
use grading::lane::rust::{
    Floats, Numbers, Typed, View, beam_search, flash_attention_backward, flash_attention_forward,
    layernorm_backward, paged_kv_attention, softmax_topk, ternary_matmul, tree_verify,
};
use grading::submission::{Answer, Call, Failure, Named, OutputSpec, Submission, Value};
use grading::task::{self, Budget, Order, Way};
use grading::tensor::{DType, Scalar, Tensor};
use grading::verdict::Verdict;
use half::f16;
use std::cell::RefCell;

thread_local! {
    /// The call that is being answered.
    static CAME: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Notes each call on its way.
struct Noted(Typed);

impl Submission for Noted {
    fn name(&self) -> String {
        self.0.name()
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        self.0.supports(task, op)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        CAME.set(Some(call.clone()));
        self.0.call(call)
    }
}

/// An untyped call put together from typed parts.
struct Rebuilt(Call);

impl Rebuilt {
    fn new(task: &'static str, op: &'static str, sizes: &[(&str, usize)]) -> Rebuilt {
        let sizes = sizes.iter().map(|(name, n)| ((*name).into(), *n as u64));
        Rebuilt(Call {
            task,
            op,
            sizes: sizes.collect(),
            parameters: Default::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }

    fn sizes(mut self, sizes: &[(&str, usize)]) -> Self {
        let sizes = sizes
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n as u64));
        self.0.sizes.extend(sizes);
        self
    }

    /// A parameter, where it is not what it is by default.
    fn set(mut self, name: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.parameters.insert(name.into(), value);
        }
        self
    }

    fn float(self, name: &str, value: impl Into<Option<f32>>) -> Self {
        let value = value.into().map(|x| Value::Float(f64::from(x)));
        self.set(name, value)
    }

    fn count(self, name: &str, value: Option<usize>) -> Self {
        self.set(name, value.map(|n| Value::Int(n as i64)))
    }

    fn input(mut self, name: &str, tensor: &Tensor) -> Self {
        self.0.inputs.push(Named {
            name: name.into(),
            tensor: tensor.clone(),
        });
        self
    }

    fn view<T: Scalar>(self, name: &str, view: &View<'_, T>) -> Self {
        // By its elements, not by the tensor it came as.
        let tensor = Tensor::of(view.shape(), view).expect("as many as they were");
        self.input(name, &tensor)
    }

    fn maybe<T: Scalar>(self, name: &str, view: &Option<View<'_, T>>) -> Self {
        match view {
            Some(view) => self.view(name, view),
            None => self,
        }
    }

    fn floats(self, name: &str, floats: &Floats<'_>) -> Self {
        match floats {
            Floats::F32(view) => self.view(name, view),
            Floats::F16(view) => self.view(name, view),
            Floats::Bf16(view) => self.view(name, view),
        }
    }

    fn output(mut self, name: &str, dtype: DType, shape: &[usize]) -> Self {
        self.0.outputs.push(OutputSpec {
            name: name.into(),
            dtype,
            shape: shape.into(),
        });
        self
    }

    /// What the plain implementation answers, after the call was held against the one that came.
    fn answered(mut self) -> Result<Plainly, Failure> {
        let came = CAME.take().expect("a call");
        // A default that came unsaid is said here.
        let said = |name: &String, _: &mut Value| came.parameters.contains_key(name);
        self.0.parameters.retain(said);
        assert_eq!(self.0, came);
        let task = task::named(came.task).expect("a task");
        (task.honest)(&self.0, &Way::right(Order::Lanes)).map(Plainly)
    }
}

/// A plain implementation's answer.
struct Plainly(Vec<Named>);

impl Plainly {
    fn maybe<T: Scalar>(&self, name: &str) -> Option<Vec<T>> {
        let named = self.0.iter().find(|named| named.name == name)?;
        named.tensor.to_vec()
    }

    fn vec<T: Scalar>(&self, name: &str) -> Vec<T> {
        self.maybe(name).expect("an output")
    }

    fn numbers(&self, name: &str) -> Numbers {
        let named = self.0.iter().find(|named| named.name == name);
        match named.expect("an output").tensor.dtype() {
            DType::F16 => Numbers::F16(self.vec(name)),
            DType::Bf16 => Numbers::Bf16(self.vec(name)),
            DType::I8 => Numbers::I8(self.vec(name)),
            DType::U8 => Numbers::U8(self.vec(name)),
            _ => Numbers::F32(self.vec(name)),
        }
    }
}

struct Plain;

impl softmax_topk::SoftmaxTopk for Plain {
    fn softmax_topk(
        &mut self,
        i: &softmax_topk::Inputs<'_>,
    ) -> Result<softmax_topk::Outputs, Failure> {
        let sizes = [("R", i.r), ("V", i.v), ("K", i.k)];
        let answer = Rebuilt::new("softmax-topk", "softmax-topk", &sizes)
            .count("K", Some(i.k))
            .float("temperature", i.temperature)
            .floats("logits", &i.logits)
            .maybe("mask", &i.mask)
            .maybe("row_k", &i.row_k)
            .output("prob", DType::F32, &[i.r, i.k])
            .output("index", DType::I32, &[i.r, i.k])
            .output("lse", DType::F32, &[i.r])
            .answered()?;
        Ok(softmax_topk::Outputs {
            prob: answer.vec("prob"),
            index: answer.vec("index"),
            lse: answer.vec("lse"),
        })
    }
}

impl layernorm_backward::LayernormBackward for Plain {
    fn layernorm_backward(
        &mut self,
        i: &layernorm_backward::Inputs<'_>,
    ) -> Result<layernorm_backward::Outputs, Failure> {
        let task = "layernorm-backward";
        let mut call = Rebuilt::new(task, task, &[("R", i.r), ("D", i.d)])
            .set("eps", Some(Value::Float(i.eps)))
            .floats("x", &i.x)
            .floats("dy", &i.dy);
        if let Some(gamma) = &i.gamma {
            call = call.floats("gamma", gamma);
        }
        call = call.maybe("mean", &i.mean).view("rstd", &i.rstd);
        if let Some(residual) = &i.residual {
            call = call.floats("residual", residual);
        }
        call = call
            .output("dx", i.x.dtype(), &[i.r, i.d])
            .output("dgamma", DType::F32, &[i.d]);
        if i.mean.is_some() {
            call = call.output("dbeta", DType::F32, &[i.d]);
        }
        let answer = call.answered()?;
        Ok(layernorm_backward::Outputs {
            dx: answer.numbers("dx"),
            dgamma: answer.vec("dgamma"),
            dbeta: answer.maybe("dbeta"),
        })
    }
}

/// What dense and packed attention have in common.
macro_rules! attention_options {
    ($call:expr, $i:ident) => {
        $call
            .sizes(&[("B", $i.b), ("Hq", $i.hq), ("Hkv", $i.hkv), ("D", $i.d)])
            .float("scale", $i.scale)
            .set("causal", Some(Value::Bool($i.causal)))
            .count("window_left", $i.window_left)
            .count("window_right", $i.window_right)
            .float("softcap", $i.softcap)
            .floats("q", &$i.q)
            .floats("k", &$i.k)
            .floats("v", &$i.v)
    };
}

impl flash_attention_forward::FlashAttentionForward for Plain {
    fn forward(
        &mut self,
        i: &flash_attention_forward::Inputs<'_>,
    ) -> Result<flash_attention_forward::Outputs, Failure> {
        let sizes = [("Nq", i.nq), ("Nk", i.nk)];
        let call = Rebuilt::new("flash-attention-forward", "forward", &sizes);
        let answer = attention_options!(call, i)
            .output("o", i.q.dtype(), i.q.shape())
            .output("lse", DType::F32, &i.q.shape()[..3])
            .answered()?;
        Ok(flash_attention_forward::Outputs {
            o: answer.numbers("o"),
            lse: answer.vec("lse"),
        })
    }

    fn forward_packed(
        &mut self,
        i: &flash_attention_forward::Packed<'_>,
    ) -> Result<flash_attention_forward::Outputs, Failure> {
        let sizes = [("Tq", i.tq), ("Tk", i.tk)];
        let call = Rebuilt::new("flash-attention-forward", "forward-packed", &sizes);
        let answer = attention_options!(call, i)
            .view("cu_q", &i.cu_q)
            .view("cu_k", &i.cu_k)
            .output("o", i.q.dtype(), i.q.shape())
            .output("lse", DType::F32, &i.q.shape()[..2])
            .answered()?;
        Ok(flash_attention_forward::Outputs {
            o: answer.numbers("o"),
            lse: answer.vec("lse"),
        })
    }
}

impl flash_attention_backward::FlashAttentionBackward for Plain {
    fn backward(
        &mut self,
        i: &flash_attention_backward::Inputs<'_>,
    ) -> Result<flash_attention_backward::Outputs, Failure> {
        let sizes = [("Nq", i.nq), ("Nk", i.nk)];
        let call = Rebuilt::new("flash-attention-backward", "backward", &sizes);
        gradients(
            attention_options!(call, i)
                .floats("o", &i.o)
                .view("lse", &i.lse)
                .floats("do", &i.d_o),
            [&i.q, &i.k, &i.v],
        )
    }

    fn backward_packed(
        &mut self,
        i: &flash_attention_backward::Packed<'_>,
    ) -> Result<flash_attention_backward::Outputs, Failure> {
        let sizes = [("Tq", i.tq), ("Tk", i.tk)];
        let call = Rebuilt::new("flash-attention-backward", "backward-packed", &sizes);
        gradients(
            attention_options!(call, i)
                .floats("o", &i.o)
                .view("lse", &i.lse)
                .floats("do", &i.d_o)
                .view("cu_q", &i.cu_q)
                .view("cu_k", &i.cu_k),
            [&i.q, &i.k, &i.v],
        )
    }
}

fn gradients(
    call: Rebuilt,
    [q, k, v]: [&Floats<'_>; 3],
) -> Result<flash_attention_backward::Outputs, Failure> {
    let answer = call
        .output("dq", q.dtype(), q.shape())
        .output("dk", k.dtype(), k.shape())
        .output("dv", v.dtype(), v.shape())
        .answered()?;
    Ok(flash_attention_backward::Outputs {
        dq: answer.numbers("dq"),
        dk: answer.numbers("dk"),
        dv: answer.numbers("dv"),
    })
}

impl beam_search::BeamSearch for Plain {
    fn step(&mut self, i: &beam_search::Inputs<'_>) -> Result<beam_search::Outputs, Failure> {
        let shape = [i.b, i.k];
        let sizes = [("B", i.b), ("K", i.k), ("V", i.v)];
        let answer = Rebuilt::new("beam-search", "step", &sizes)
            .float("alpha", i.alpha)
            .set("eos", Some(Value::Ints(i.eos.to_vec())))
            .set("count_eos", Some(Value::Bool(i.count_eos)))
            .count("min_length", Some(i.min_length))
            .floats("logits", &i.logits)
            .view("acc", &i.acc)
            .view("length", &i.length)
            .view("finished", &i.finished)
            .output("parent", DType::I32, &shape)
            .output("token", DType::I32, &shape)
            .output("acc", DType::F32, &shape)
            .output("length", DType::I32, &shape)
            .output("finished", DType::U8, &shape)
            .output("score", DType::F32, &shape)
            .answered()?;
        Ok(beam_search::Outputs {
            parent: answer.vec("parent"),
            token: answer.vec("token"),
            acc: answer.vec("acc"),
            length: answer.vec("length"),
            finished: answer.vec("finished"),
            score: answer.vec("score"),
        })
    }
}

impl ternary_matmul::TernaryMatmul for Plain {
    fn forward(
        &mut self,
        i: &ternary_matmul::Forward<'_>,
    ) -> Result<ternary_matmul::Product, Failure> {
        let sizes = [("M", i.m), ("N", i.n), ("K", i.k), ("BLOCK", i.block)];
        let answer = Rebuilt::new("ternary-matmul", "forward", &sizes)
            .set("packing", Some(Value::Text(i.packing.into())))
            .floats("x", &i.x)
            .view("packed", &i.packed)
            .output("y", i.x.dtype(), &[i.m, i.n])
            .answered()?;
        Ok(ternary_matmul::Product {
            y: answer.numbers("y"),
        })
    }

    fn input_gradient(
        &mut self,
        i: &ternary_matmul::InputGradient<'_>,
    ) -> Result<ternary_matmul::OfInput, Failure> {
        let sizes = [("M", i.m), ("N", i.n), ("K", i.k), ("BLOCK", i.block)];
        let answer = Rebuilt::new("ternary-matmul", "input-gradient", &sizes)
            .set("packing", Some(Value::Text(i.packing.into())))
            .floats("dy", &i.dy)
            .view("packed", &i.packed)
            .output("dx", i.dy.dtype(), &[i.m, i.k])
            .answered()?;
        Ok(ternary_matmul::OfInput {
            dx: answer.numbers("dx"),
        })
    }

    fn weight_gradient(
        &mut self,
        i: &ternary_matmul::WeightGradient<'_>,
    ) -> Result<ternary_matmul::OfWeights, Failure> {
        let sizes = [("M", i.m), ("N", i.n), ("K", i.k)];
        let answer = Rebuilt::new("ternary-matmul", "weight-gradient", &sizes)
            .floats("dy", &i.dy)
            .floats("x", &i.x)
            .maybe("W", &i.w)
            .output("dW", DType::F32, &[i.n, i.k])
            .answered()?;
        Ok(ternary_matmul::OfWeights {
            dw: answer.vec("dW"),
        })
    }

    fn quantise_forward(
        &mut self,
        i: &ternary_matmul::DenseForward<'_>,
    ) -> Result<ternary_matmul::ProductAndPacked, Failure> {
        let sizes = [("M", i.m), ("N", i.n), ("K", i.k), ("BLOCK", i.block)];
        let answer = Rebuilt::new("ternary-matmul", "quantise-forward", &sizes)
            .set("packing", Some(Value::Text(i.packing.into())))
            .floats("x", &i.x)
            .view("W", &i.w)
            .output("y", i.x.dtype(), &[i.m, i.n])
            .output("packed", DType::U8, &[i.n, i.k.div_ceil(128), i.block])
            .answered()?;
        Ok(ternary_matmul::ProductAndPacked {
            y: answer.numbers("y"),
            packed: answer.vec("packed"),
        })
    }

    fn quantise(
        &mut self,
        i: &ternary_matmul::Dense<'_>,
    ) -> Result<ternary_matmul::Packed, Failure> {
        packed("quantise", i)
    }

    fn pack_exact(
        &mut self,
        i: &ternary_matmul::Dense<'_>,
    ) -> Result<ternary_matmul::Packed, Failure> {
        packed("pack-exact", i)
    }

    fn embed(&mut self, i: &ternary_matmul::Embed<'_>) -> Result<ternary_matmul::Rows, Failure> {
        let sizes = [("L", i.l), ("N", i.n), ("K", i.k), ("BLOCK", i.block)];
        let answer = Rebuilt::new("ternary-matmul", "embed", &sizes)
            .set("packing", Some(Value::Text(i.packing.into())))
            .view("tokens", &i.tokens)
            .view("packed", &i.packed)
            .output("rows", i.dtype.0, &[i.l, i.k])
            .answered()?;
        Ok(ternary_matmul::Rows {
            rows: answer.numbers("rows"),
        })
    }
}

fn packed(
    op: &'static str,
    i: &ternary_matmul::Dense<'_>,
) -> Result<ternary_matmul::Packed, Failure> {
    let sizes = [("N", i.n), ("K", i.k), ("BLOCK", i.block)];
    let answer = Rebuilt::new("ternary-matmul", op, &sizes)
        .set("packing", Some(Value::Text(i.packing.into())))
        .floats("W", &i.w)
        .output("packed", DType::U8, &[i.n, i.k.div_ceil(128), i.block])
        .answered()?;
    Ok(ternary_matmul::Packed {
        packed: answer.vec("packed"),
    })
}

/// A cache as sizes and inputs.
fn cached(call: Rebuilt, pages: &paged_kv_attention::Pages<'_>) -> Rebuilt {
    call.sizes(&[("P", pages.p), ("page", pages.page), ("Hkv", pages.hkv)])
        .input("k_pages", pages.k_pages.tensor())
        .input("v_pages", pages.v_pages.tensor())
        .maybe("k_scale", &pages.k_scale)
        .maybe("v_scale", &pages.v_scale)
        .maybe("k_zero", &pages.k_zero)
        .maybe("v_zero", &pages.v_zero)
}

fn attended(
    call: Rebuilt,
    i: &paged_kv_attention::Decode<'_>,
    starts: Option<&View<'_, i32>>,
) -> Result<paged_kv_attention::Attended, Failure> {
    let sizes = [("B", i.b), ("Hq", i.hq), ("D", i.d), ("maxp", i.maxp)];
    let call = call
        .sizes(&sizes)
        .float("scale", i.scale)
        .count("window", i.window)
        .count("sinks", Some(i.sinks))
        .float("softcap", i.softcap)
        .floats("q", &i.q);
    let mut call = cached(call, &i.cache)
        .view("block_table", &i.block_table)
        .view("seq_len", &i.seq_len);
    if let Some(starts) = starts {
        call = call.view("starts", starts);
    }
    let answer = call
        .maybe("sink_logits", &i.sink_logits)
        .output("o", i.q.dtype(), i.q.shape())
        .output("lse", DType::F32, &i.q.shape()[..2])
        .answered()?;
    Ok(paged_kv_attention::Attended {
        o: answer.numbers("o"),
        lse: answer.vec("lse"),
    })
}

impl paged_kv_attention::PagedKvAttention for Plain {
    fn decode(
        &mut self,
        i: &paged_kv_attention::Decode<'_>,
    ) -> Result<paged_kv_attention::Attended, Failure> {
        let call = Rebuilt::new("paged-kv-attention", "decode", &[]);
        attended(call, i, None)
    }

    fn prefill(
        &mut self,
        i: &paged_kv_attention::Prefill<'_>,
    ) -> Result<paged_kv_attention::Attended, Failure> {
        let call = Rebuilt::new("paged-kv-attention", "prefill", &[("T", i.t)]);
        attended(call, &i.decode, Some(&i.starts))
    }

    fn append(
        &mut self,
        i: &paged_kv_attention::Append<'_>,
    ) -> Result<paged_kv_attention::Appended, Failure> {
        let sizes = [("N", i.n), ("D", i.d), ("positions", i.positions)];
        let call = Rebuilt::new("paged-kv-attention", "append", &sizes)
            .set("rope_pairs", i.rope_pairs.map(|p| Value::Text(p.into())))
            .floats("k", &i.k)
            .floats("v", &i.v)
            .view("slots", &i.slots);
        let pages = &i.cache;
        let mut call = cached(call, pages)
            .maybe("cos", &i.cos)
            .maybe("sin", &i.sin)
            .maybe("position", &i.position)
            .output("k_pages", pages.k_pages.dtype(), pages.k_pages.shape())
            .output("v_pages", pages.v_pages.dtype(), pages.v_pages.shape());
        let statistics = [
            ("k_scale", &pages.k_scale),
            ("v_scale", &pages.v_scale),
            ("k_zero", &pages.k_zero),
            ("v_zero", &pages.v_zero),
        ];
        for (name, view) in statistics {
            if let Some(view) = view {
                call = call.output(name, DType::F16, view.shape());
            }
        }
        let answer = call.answered()?;
        Ok(paged_kv_attention::Appended {
            k_pages: answer.numbers("k_pages"),
            v_pages: answer.numbers("v_pages"),
            k_scale: answer.maybe::<f16>("k_scale"),
            v_scale: answer.maybe("v_scale"),
            k_zero: answer.maybe("k_zero"),
            v_zero: answer.maybe("v_zero"),
        })
    }
}

/// The tree and the target's logits.
fn tree(call: Rebuilt, i: &tree_verify::Accept<'_>) -> Rebuilt {
    call.sizes(&[("B", i.b), ("T", i.t), ("V", i.v)])
        .view("token", &i.token)
        .view("parent", &i.parent)
        .view("starts", &i.starts)
        .floats("logits", &i.logits)
        .maybe("stop", &i.stop)
        .maybe("slots", &i.slots)
}

fn accepted(
    mut call: Rebuilt,
    i: &tree_verify::Accept<'_>,
) -> Result<tree_verify::Accepted, Failure> {
    call = call
        .output("node", DType::I32, &[i.t])
        .output("accepted", DType::I32, &[i.t]);
    if i.slots.is_some() {
        call = call.output("slot", DType::I32, &[i.t]);
    }
    let answer = call
        .output("count", DType::I32, &[i.b])
        .output("bonus", DType::I32, &[i.b])
        .answered()?;
    Ok(tree_verify::Accepted {
        node: answer.vec("node"),
        accepted: answer.vec("accepted"),
        slot: answer.maybe("slot"),
        count: answer.vec("count"),
        bonus: answer.vec("bonus"),
    })
}

impl tree_verify::TreeVerify for Plain {
    fn accept(&mut self, i: &tree_verify::Accept<'_>) -> Result<tree_verify::Accepted, Failure> {
        accepted(tree(Rebuilt::new("tree-verify", "accept", &[]), i), i)
    }

    fn sample(&mut self, i: &tree_verify::Sample<'_>) -> Result<tree_verify::Accepted, Failure> {
        let call = Rebuilt::new("tree-verify", "sample", &[]);
        let call = tree(call.float("temperature", i.temperature), &i.tree)
            .maybe("draft", &i.draft)
            .view("uniform", &i.uniform)
            .view("bonus_uniform", &i.bonus_uniform);
        accepted(call, &i.tree)
    }

    fn mask(&mut self, i: &tree_verify::Trees<'_>) -> Result<tree_verify::Masks, Failure> {
        let answer = Rebuilt::new("tree-verify", "mask", &[("B", i.b), ("T", i.t), ("W", i.w)])
            .view("parent", &i.parent)
            .view("starts", &i.starts)
            .output("mask", DType::U32, &[i.t, i.w])
            .output("depth", DType::I32, &[i.t])
            .answered()?;
        Ok(tree_verify::Masks {
            mask: answer.vec("mask"),
            depth: answer.vec("depth"),
        })
    }

    fn attention(
        &mut self,
        i: &tree_verify::Attention<'_>,
    ) -> Result<paged_kv_attention::Attended, Failure> {
        let sizes = [
            ("B", i.b),
            ("T", i.t),
            ("Hq", i.hq),
            ("D", i.d),
            ("maxp", i.maxp),
        ];
        let call = Rebuilt::new("tree-verify", "attention", &sizes)
            .float("scale", i.scale)
            .count("window", i.window)
            .floats("q", &i.q);
        let answer = cached(call, &i.cache)
            .view("block_table", &i.block_table)
            .view("seq_len", &i.seq_len)
            .view("parent", &i.parent)
            .view("starts", &i.starts)
            .output("o", i.q.dtype(), i.q.shape())
            .output("lse", DType::F32, &i.q.shape()[..2])
            .answered()?;
        Ok(paged_kv_attention::Attended {
            o: answer.numbers("o"),
            lse: answer.vec("lse"),
        })
    }
}

fn all() -> Typed {
    Typed::new("plain, by traits")
        .with(layernorm_backward::Task, Plain)
        .with(softmax_topk::Task, Plain)
        .with(paged_kv_attention::Task, Plain)
        .with(flash_attention_forward::Task, Plain)
        .with(beam_search::Task, Plain)
        .with(flash_attention_backward::Task, Plain)
        .with(tree_verify::Task, Plain)
        .with(ternary_matmul::Task, Plain)
}

#[test]
fn all_eight_pass_by_their_traits() {
    let open = || -> Box<dyn Submission> { Box::new(Noted(all())) };
    for task in task::all() {
        let options = Options::new("typed", Budget::Quick);
        let mut live = Live::new(&open);
        let mut passed = 0;
        for check in &task.checks {
            let report = run_check(task, check, &mut live, &options);
            let text = render_check(&report, Paint::plain());
            match report.verdict {
                Verdict::Pass => passed += 1,
                // Nothing is counted in this lane.
                Verdict::NotAttempted(_) => {}
                _ => panic!("{}, seed {}: {text}", task.spec.name, options.seed),
            }
        }
        assert!(passed >= 12, "{}: {passed} checks", task.spec.name);
    }
}

/// A method that is left as it stands in the trait refuses, and an answer of another length or
/// another type is malformed.
#[test]
fn what_is_not_an_answer_is_said_to_be_none() {
    struct Nothing;
    impl ternary_matmul::TernaryMatmul for Nothing {}
    impl softmax_topk::SoftmaxTopk for Nothing {
        fn softmax_topk(
            &mut self,
            _: &softmax_topk::Inputs<'_>,
        ) -> Result<softmax_topk::Outputs, Failure> {
            Ok(softmax_topk::Outputs::default())
        }
    }
    impl layernorm_backward::LayernormBackward for Nothing {
        fn layernorm_backward(
            &mut self,
            i: &layernorm_backward::Inputs<'_>,
        ) -> Result<layernorm_backward::Outputs, Failure> {
            let numbers = vec![half::bf16::ONE; i.r * i.d];
            Ok(layernorm_backward::Outputs {
                dx: Numbers::Bf16(numbers),
                dgamma: vec![0.0; i.d],
                dbeta: i.mean.as_ref().map(|_| vec![0.0; i.d]),
            })
        }
    }
    let open = || -> Box<dyn Submission> {
        let typed = Typed::new("nothing")
            .with(ternary_matmul::Task, Nothing)
            .with(layernorm_backward::Task, Nothing);
        Box::new(typed.with(softmax_topk::Task, Nothing))
    };
    let first = |name: &str| {
        let task = task::named(name).expect("a task");
        let options = Options::new("typed", Budget::Quick);
        run_check(task, &task.checks[0], &mut Live::new(&open), &options).verdict
    };
    let verdicts = ["ternary-matmul", "softmax-topk", "layernorm-backward"].map(first);
    let names = verdicts.each_ref().map(Verdict::name);
    assert_eq!(
        names,
        ["unsupported", "malformed", "malformed"],
        "{verdicts:?}"
    );
    assert!(!open().supports("beam-search", "step"));
}
