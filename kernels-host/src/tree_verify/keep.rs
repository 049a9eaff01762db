//! What was accepted stays in the cache, in order; the rest goes.

use super::{Accepted, Trees};
use crate::paged_kv::{BlockTable, KvCache, Pages, SequenceId, units};
use crate::{Error, LaunchConfig, Module, Result, launch};
use kernels_gpu::tree_verify::{COMPACT_THREADS, FAMILY};

/// Moves the accepted nodes of each sequence up behind its prefix, in every layer, and shortens the
/// sequences to prefix and path. `ids[b]` ends with the nodes of tree b.
///
/// # Errors
/// When the acceptance is not of these trees, or a sequence is shorter than its tree; nothing changes
/// then.
pub fn keep(
    cache: &mut KvCache,
    ids: &[SequenceId],
    trees: &Trees,
    accepted: &Accepted,
) -> Result<()> {
    if ids.len() != trees.items() || accepted.sizes() != trees.sizes() {
        return Err(Error::Parameter {
            name: "accepted",
            got: format!("{} items", accepted.sizes().len()),
            must_be: format!("of the {} trees, a sequence each", trees.items()),
        });
    }
    let mut prefixes = Vec::with_capacity(ids.len());
    for (&id, &nodes) in ids.iter().zip(trees.sizes()) {
        let length = cache.len(id)?;
        let Some(prefix) = length.checked_sub(nodes) else {
            return Err(Error::Parameter {
                name: "sequence",
                got: format!("{length} tokens"),
                must_be: format!("at least the {nodes} nodes of its tree"),
            });
        };
        prefixes.push(prefix);
    }
    if trees.nodes() > 0 {
        let table = cache.block_table(ids)?;
        for pages in cache.layers_mut() {
            compact(pages, &table, trees, accepted)?;
        }
    }
    let counts = accepted.count.to_vec()?;
    for ((&id, prefix), count) in ids.iter().zip(prefixes).zip(counts) {
        cache.truncate(id, prefix + count as usize)?;
    }
    Ok(())
}

fn compact(
    pages: &mut Pages,
    table: &BlockTable,
    trees: &Trees,
    accepted: &Accepted,
) -> Result<()> {
    let device = pages.device().clone();
    let kernel = Module::embedded(FAMILY.name, &*device)?.kernel("tree_compact")?;
    let shape = pages.shape();
    for store in [pages.k(), pages.v()] {
        for (array, bytes) in store.arrays(&shape) {
            let (units, unit) = units(bytes);
            let config = LaunchConfig {
                grid: [units.div_ceil(COMPACT_THREADS), trees.items() as u32, 1],
                block: [COMPACT_THREADS, 1, 1],
                shared: 0,
            };
            let args = [
                array,
                (&table.table).into(),
                (&table.lengths).into(),
                trees.starts.arg(),
                (&accepted.node).into(),
                (&accepted.count).into(),
                table.width().into(),
                (shape.page as u32).into(),
                units.into(),
                unit.into(),
            ];
            launch(&*device, &kernel, config, &args)?;
        }
    }
    Ok(())
}
