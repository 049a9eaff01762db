//! What the tensor-core kernels do, counted by the PTX machine: products, traffic, bank conflicts.

use crate::backward::{gradient, run as run_backward};
use crate::case::{Case, Number, Plan};
use half::{bf16, f16};
use kernels_gpu::flash_attention_backward::{ROWS, WARPS, parts, step};
use kernels_gpu::flash_attention_forward::tiling;
use kernels_host::attention::Window;
use kernels_host::{Device, Launched, Vm};
use std::ops::Range;
use std::sync::Arc;

/// Calls of every kind of band: all, causal with more and with fewer queries than keys, a window that
/// skips tiles on both sides; groups of heads; sequences of different lengths.
fn plans(head_size: usize) -> Vec<Plan> {
    let mut window = Plan::new(200, 230, head_size);
    window.options.window = Some(Window {
        left: Some(20),
        right: Some(5),
    });
    let mut grouped = Plan::new(45, 150, head_size).causal();
    (grouped.group, grouped.kv_heads) = (3, 2);
    let mut packed = Plan::new(1, 1, head_size).causal();
    packed.packed = true;
    packed.lengths = vec![(70, 130), (0, 9), (33, 5), (17, 0)];
    vec![
        Plan::new(130, 97, head_size),
        Plan::new(97, 300, head_size).causal(),
        Plan::new(150, 70, head_size).causal(),
        window,
        grouped,
        packed,
    ]
}

/// Whether a query sees a key, from the definition: query i stands at i + Nk − Nq.
fn sees(plan: &Plan, (queries, keys): (usize, usize), query: usize, key: usize) -> bool {
    let distance = key as i64 - (query + keys) as i64 + queries as i64;
    let window = plan.options.window;
    (!plan.options.causal || distance <= 0)
        && window
            .and_then(|w| w.left)
            .is_none_or(|left| -distance <= left as i64)
        && window
            .and_then(|w| w.right)
            .is_none_or(|right| distance <= right as i64)
}

/// One walk of a kernel in one sequence and KV head: tiles of `tile` own rows, 16 a warp, each over
/// the others that it has to do with, `step` at a time.
struct Walk {
    own: usize,
    others: usize,
    tile: u32,
    step: u32,
}

/// What the walks of a call come to at least.
#[derive(Debug, Default, PartialEq)]
struct Least {
    /// Pairs of 16 own rows and a step of others of which one sees one.
    pairs: u64,
    /// Own rows, and the others of each tile.
    own: u64,
    others: u64,
}

impl Least {
    fn add(&mut self, walk: &Walk, meet: impl Fn(usize, usize) -> bool) {
        let meets = |own: Range<usize>, mut others: Range<usize>| {
            others.any(|other| own.clone().any(|own| meet(own, other)))
        };
        self.own += walk.own as u64;
        for tile in (0..walk.own).step_by(walk.tile as usize) {
            let own = tile..walk.own.min(tile + walk.tile as usize);
            let met = |other: &usize| meets(own.clone(), *other..other + 1);
            let Some(first) = (0..walk.others).find(met) else {
                continue;
            };
            let end = (first..walk.others).rfind(met).expect("the first at least") + 1;
            self.others += (end - first) as u64;
            for warp in own.clone().step_by(16) {
                let rows = warp..own.end.min(warp + 16);
                for step in (first..end).step_by(walk.step as usize) {
                    let others = step..end.min(step + walk.step as usize);
                    self.pairs += u64::from(meets(rows.clone(), others));
                }
            }
        }
    }

    /// Of a pass whose blocks own packed query rows, and walk keys.
    fn of_queries(plan: &Plan, tile: u32, step: u32) -> Least {
        let mut least = Least::default();
        for lengths in &plan.lengths {
            let walk = Walk {
                own: lengths.0 * plan.group,
                others: lengths.1,
                tile,
                step,
            };
            for _ in 0..plan.kv_heads {
                least.add(&walk, |row, key| {
                    sees(plan, *lengths, row / plan.group, key)
                });
            }
        }
        least
    }

    /// Of a pass whose blocks own keys, and walk packed query rows.
    fn of_keys(plan: &Plan, tile: u32, step: u32) -> Least {
        let mut least = Least::default();
        for lengths in &plan.lengths {
            let walk = Walk {
                own: lengths.1,
                others: lengths.0 * plan.group,
                tile,
                step,
            };
            for _ in 0..plan.kv_heads {
                least.add(&walk, |key, row| {
                    sees(plan, *lengths, row / plan.group, key)
                });
            }
        }
        least
    }
}

/// The launches of a call's kernels, counted.
fn counted<T: Number>(plan: &Plan) -> Vec<Launched> {
    let case = Case::<T>::draw(plan, 5);
    let vm = Vm::new();
    vm.set_options(simt::Options {
        counters: true,
        ..simt::Options::default()
    });
    let device: Arc<dyn Device> = vm.clone();
    let answer = case.run(&device).unwrap_or_else(|error| panic!("{error}"));
    run_backward(&case, &answer, &gradient(plan, 5), &device)
        .unwrap_or_else(|error| panic!("{error}"));
    vm.take_launches()
}

/// The sum, over the lines of PTX that hold an instruction, of something counted.
pub(crate) fn sum(
    launched: &Launched,
    instruction: &str,
    of: impl Fn(&simt::count::Counts) -> u64,
) -> u64 {
    let counters = launched.report.counters.as_ref().expect("counted");
    let lines = counters
        .lines
        .iter()
        .filter(|line| line.text.contains(instruction));
    lines.map(|line| of(&line.counts)).sum()
}

/// Fails unless the kernel did what was least, for its tiles, and no access waited for a bank.
///
/// `products` are the 16×8×16 products of a pair, `own` and `others` the bytes that a row of each
/// brings.
fn compare(launched: &Launched, least: &Least, products: u64, own: u64, others: u64, plan: &Plan) {
    let name = &launched.entry;
    let mma = sum(launched, "mma.sync", |counts| counts.warp_instructions);
    assert_eq!(mma, least.pairs * products, "{name}: products for {plan:?}");
    let copied = sum(launched, "cp.async.cg", |counts| counts.global.load.bytes);
    let expected = least.own * own + least.others * others;
    assert_eq!(copied, expected, "{name}: bytes copied for {plan:?}");
    // Whole rows of 96 are twelve chunks of 16 bytes: copied and gathered, eight lanes' chunks end in
    // one row and begin in the next, whose swizzle is another.
    let whole: &[&str] = if plan.head_size == 96 {
        &[]
    } else {
        &["ld.shared", "cp.async.cg"]
    };
    for instruction in ["ldmatrix", "st.shared"].iter().chain(whole) {
        let conflicts = sum(launched, instruction, |counts| counts.banks.conflicts);
        assert_eq!(
            conflicts, 0,
            "{name}: conflicts of {instruction} for {plan:?}"
        );
    }
}

fn the_least<T: Number>(head_size: usize) {
    let d = head_size as u64;
    let row = 2 * d;
    for plan in plans(head_size) {
        let launches = counted::<T>(&plan);
        let by_name = |kernel: &str| {
            let name = format!("{kernel}_{}_{head_size}", T::NAME);
            let found = launches.iter().find(|launched| launched.entry == name);
            found.unwrap_or_else(|| panic!("{name} was not launched"))
        };
        let tiles = tiling(head_size as u32);
        let (keys, others) = (u64::from(tiles.keys), u64::from(step(head_size as u32)));

        // q·kᵀ and P·v; a row of q, and one of k and of v.
        let least = Least::of_queries(&plan, tiles.rows, tiles.keys);
        let products = 2 * (keys / 8) * (d / 16);
        compare(
            by_name("flash_forward"),
            &least,
            products,
            row,
            2 * row,
            &plan,
        );

        // q·kᵀ, do·vᵀ and dX·k; q and do, k and v.
        let least = Least::of_queries(&plan, ROWS, step(head_size as u32));
        let products = 3 * (others / 8) * (d / 16);
        compare(
            by_name("flash_backward_dq"),
            &least,
            products,
            2 * row,
            2 * row,
            &plan,
        );

        // k·qᵀ and v·doᵀ in each part, a part of Pᵀ·do and dXᵀ·q; k and v, q and do, in each part.
        let parts = u64::from(parts(head_size as u32));
        let least = Least::of_keys(&plan, ROWS, step(head_size as u32));
        let products = 2 * (others / 8) * (d / 16) * (parts + 1);
        let row = 2 * row * parts;
        compare(
            by_name("flash_backward_dkdv"),
            &least,
            products,
            row,
            row,
            &plan,
        );
    }
}

macro_rules! head_sizes {
    ($($name:ident: $head_size:literal;)*) => {
        /// For every tile that is visited the products of the tiles, for the others none; the rows of
        /// a tile once, and what they meet once a tile; no bank conflicts.
        mod the_least {
            use super::*;
            $(#[test]
            fn $name() {
                super::the_least::<f16>($head_size);
                super::the_least::<bf16>($head_size);
            })*
        }
    };
}

head_sizes! {
    head_size_32: 32;
    head_size_64: 64;
    head_size_96: 96;
    head_size_128: 128;
    head_size_256: 256;
}

/// The reckoning above, on a case that can be reckoned by hand: 40 causal queries and keys, tiles of
/// 64 rows, steps of 16. Warps of rows 0–15, 16–31, 32–39 meet one, two and three steps.
#[test]
fn a_reckoning_by_hand() {
    let plan = Plan::new(40, 40, 32).causal();
    let least = Least::of_queries(&plan, 16 * WARPS, 16);
    let expected = Least {
        pairs: 6,
        own: 40,
        others: 40,
    };
    assert_eq!(least, expected);
}
