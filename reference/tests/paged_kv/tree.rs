//! Attention of trees: each node is the last token of its own path, decoded plainly.

use half::f16;
use proptest::prelude::*;
use reference::View;
use reference::attention::{Method, Options, Window};
use reference::cases::strategy::rng;
use reference::cases::{Rng, normal};
use reference::numbers::{DType, Precision};
use reference::paged_kv::{Format, KvCache, PageShape, PagedKeys, PagedQueries, SequenceId};
use reference::tree_attention::{TreeKeys, tree_attention};

use crate::attention::{Setup, assert_close};

const SHAPE: PageShape = PageShape {
    pages: 300,
    page: 4,
    heads: 2,
    head_size: 3,
};
const WIDTH: usize = SHAPE.heads * SHAPE.head_size;
const HQ: usize = 4;

struct Tree {
    parent: Vec<i32>,
    q: Vec<f16>,
    k: Vec<f16>,
    v: Vec<f16>,
}

impl Tree {
    fn draw(rng: &mut Rng, nodes: usize) -> Self {
        Self {
            parent: (0..nodes).map(|i| rng.below(i + 1) as i32 - 1).collect(),
            q: normal(rng, nodes * HQ * SHAPE.head_size, 1.0),
            k: normal(rng, nodes * WIDTH, 1.0),
            v: normal(rng, nodes * WIDTH, 1.0),
        }
    }

    fn token(&self, i: usize) -> (Vec<f32>, Vec<f32>) {
        let row = |x: &[f16]| {
            x[i * WIDTH..(i + 1) * WIDTH]
                .iter()
                .map(|x| x.to_f32())
                .collect()
        };
        (row(&self.k), row(&self.v))
    }

    /// From the child of the prompt down to node i.
    fn path(&self, i: usize) -> Vec<usize> {
        let up = |&j: &usize| usize::try_from(self.parent[j]).ok();
        let mut path: Vec<usize> = std::iter::successors(Some(i), up).collect();
        path.reverse();
        path
    }
}

fn append(cache: &mut KvCache, id: SequenceId, tree: &Tree, i: usize) {
    let (k, v) = tree.token(i);
    cache.append(id, &k, &v).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_node_is_the_last_token_of_its_path(
        mut rng in rng(),
        window in prop::option::of((1usize..6, 0usize..2)),
    ) {
        let mut cache = KvCache::new(SHAPE, Format::Float(DType::F16)).unwrap();
        let options = Options {
            window: window.map(|(length, sinks)| Window::last(length).with_sinks(sinks)),
            ..Options::new(0.5)
        };
        let trees: Vec<Tree> = (0..rng.between(1, 3))
            .map(|_| { let nodes = rng.below(12); Tree::draw(&mut rng, nodes) })
            .collect();
        let mut ids = Vec::new();
        for _ in &trees {
            let id = cache.create();
            for _ in 0..rng.below(9) {
                let (k, v) = (normal::<f32>(&mut rng, WIDTH, 1.0), normal::<f32>(&mut rng, WIDTH, 1.0));
                cache.append(id, &k, &v).unwrap();
            }
            ids.push(id);
        }

        // Node by node: a copy of the prefix, the path appended, one decode step.
        let (mut o, mut lse) = (Vec::new(), Vec::new());
        for (tree, &id) in trees.iter().zip(&ids) {
            for i in 0..tree.parent.len() {
                let mut cache = cache.clone();
                let copy = cache.fork(id).unwrap();
                tree.path(i).into_iter().for_each(|node| append(&mut cache, copy, tree, node));
                let setup = Setup { cache, ids: vec![copy], hq: HQ, rng: Rng::new(0) };
                let row = HQ * SHAPE.head_size;
                let step = setup.paged(&tree.q[i * row..(i + 1) * row], None, &options).unwrap();
                o.extend(step.o.values());
                lse.extend(step.lse.values());
            }
        }

        let concat = |pick: fn(&Tree) -> &[f16]| -> Vec<f16> { trees.iter().flat_map(pick).copied().collect() };
        let (q, k, v) = (concat(|t| &t.q), concat(|t| &t.k), concat(|t| &t.v));
        let parent: Vec<i32> = trees.iter().flat_map(|t| t.parent.iter().copied()).collect();
        let mut starts = vec![0];
        for tree in &trees {
            starts.push(starts[starts.len() - 1] + tree.parent.len() as i32);
        }
        let queries = PagedQueries {
            q: View::new("q", &q, [parent.len(), HQ, SHAPE.head_size]).unwrap(),
            starts: Some(&starts),
            sink_logits: None,
        };
        let run = |cache: &KvCache, nodes: TreeKeys<'_, f16>| {
            let (table, width, seq_len) = cache.block_table(&ids).unwrap();
            let keys = PagedKeys {
                k: cache.k().pages(),
                v: cache.v().pages(),
                shape: SHAPE,
                block_table: View::new("block_table", &table, [ids.len(), width]).unwrap(),
                seq_len: &seq_len,
            };
            let precision = Precision::of(DType::F16);
            tree_attention(&queries, &parent, nodes, &keys, &options, precision, Method::Tiled).unwrap()
        };
        let shape = [parent.len(), SHAPE.heads, SHAPE.head_size];
        let beside = TreeKeys::Tensors {
            k: View::new("tree k", &k, shape).unwrap(),
            v: View::new("tree v", &v, shape).unwrap(),
        };
        let out = run(&cache, beside);
        assert_close(out.o.values(), o.iter().copied());
        assert_close(out.lse.values(), lse.iter().copied());

        for (tree, &id) in trees.iter().zip(&ids) {
            (0..tree.parent.len()).for_each(|i| append(&mut cache, id, tree, i));
        }
        let out = run(&cache, TreeKeys::InCache);
        assert_close(out.o.values(), o);
        assert_close(out.lse.values(), lse);
    }
}
