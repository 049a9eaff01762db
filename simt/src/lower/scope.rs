//! Names and what they stand for.

use super::program::Special;
use super::program::{MaskKind, Reg};
use crate::ptx::types::{ScalarType, Space};
use smol_str::SmolStr;
use std::collections::HashMap;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Symbol {
    /// A register and its declared type.
    Register(Reg, ScalarType),
    /// A variable with a fixed offset in shared, local, const or param space.
    Placed(Space, u64),
    /// A local variable at an offset from a register: of a function that may be entered again.
    Framed(Reg, u64),
    /// A variable of the module in device memory.
    Global(usize),
    /// A label.
    Label(usize),
    /// A list of labels.
    Targets(Vec<SmolStr>),
    /// A function, by index in the module.
    Function(usize),
}

/// Nested scopes, the innermost last.
#[derive(Default)]
pub(crate) struct Scopes {
    levels: Vec<HashMap<SmolStr, Symbol>>,
}

impl Scopes {
    pub(crate) fn push(&mut self) {
        self.levels.push(HashMap::new());
    }

    pub(crate) fn pop(&mut self) {
        self.levels.pop();
    }

    /// Declares a name; false if this scope already has it.
    pub(crate) fn declare(&mut self, name: SmolStr, symbol: Symbol) -> bool {
        let Some(level) = self.levels.last_mut() else {
            return false;
        };
        level.insert(name, symbol).is_none()
    }

    /// Finds a name, innermost scope first.
    pub(crate) fn find(&self, name: &str) -> Option<&Symbol> {
        self.levels.iter().rev().find_map(|level| level.get(name))
    }

    /// The registers of the function being lowered, declared so far.
    pub(crate) fn registers(&self) -> Vec<Reg> {
        let all = self.levels.iter().flat_map(HashMap::values);
        let registers = all.filter_map(|symbol| match symbol {
            Symbol::Register(reg, _) => Some(*reg),
            _ => None,
        });
        registers.collect()
    }

    /// The parameters that the function being lowered has in the thread's own memory, in order.
    pub(crate) fn own_params(&self) -> Vec<u64> {
        let all = self.levels.iter().flat_map(HashMap::values);
        let places = all.filter_map(|symbol| match symbol {
            Symbol::Placed(Space::Param, at) if at & super::LOCAL_PARAM != 0 => {
                Some(at & !super::LOCAL_PARAM)
            }
            _ => None,
        });
        let mut places: Vec<u64> = places.collect();
        places.sort_unstable();
        places
    }

    /// The declared name nearest to a misspelt one.
    pub(crate) fn nearest(&self, name: &str) -> Option<SmolStr> {
        let names = self.levels.iter().flat_map(HashMap::keys);
        let near = names
            .map(|n| (distance(n, name), n))
            .filter(|(d, _)| *d <= 2);
        near.min().map(|(_, n)| n.clone())
    }
}

/// Edit distance, given up beyond small differences in length.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Whether a name is a word and a number below a limit.
fn numbered(name: &str, word: &str, limit: u32) -> bool {
    let number = name.strip_prefix(word).and_then(|n| n.parse::<u32>().ok());
    number.is_some_and(|n| n < limit)
}

/// The special register of a name and its type.
pub(crate) fn special(name: &str) -> Option<(Special, ScalarType)> {
    use Special::*;
    let axis = |c: &str| match c {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    let u32 = ScalarType::U32;
    if let Some((base, component)) = name.split_once('.') {
        let axis = axis(component)?;
        let special = match base {
            "%tid" => Tid(axis),
            "%ntid" => Ntid(axis),
            "%ctaid" => Ctaid(axis),
            "%nctaid" => Nctaid(axis),
            "%clusterid" => ClusterId(axis),
            "%nclusterid" => NClusterId(axis),
            "%cluster_ctaid" => ClusterCtaid(axis),
            "%cluster_nctaid" => ClusterNctaid(axis),
            _ => return None,
        };
        return Some((special, u32));
    }
    let special = match name {
        "%laneid" => LaneId,
        "%warpid" => WarpId,
        "%nwarpid" => NWarpId,
        "%smid" => SmId,
        "%nsmid" => NSmId,
        "%gridid" => return Some((GridId, ScalarType::U64)),
        "%lanemask_eq" => LaneMask(MaskKind::Eq),
        "%lanemask_le" => LaneMask(MaskKind::Le),
        "%lanemask_lt" => LaneMask(MaskKind::Lt),
        "%lanemask_ge" => LaneMask(MaskKind::Ge),
        "%lanemask_gt" => LaneMask(MaskKind::Gt),
        "%dynamic_smem_size" => DynamicSharedSize,
        "%total_smem_size" => TotalSharedSize,
        "%cluster_ctarank" => ClusterCtarank,
        "%cluster_nctarank" => ClusterNctarank,
        "%aggr_smem_size" => TotalSharedSize,
        // What the driver says, and counters that nobody set up.
        "%current_graph_exec" => return Some((Zero, ScalarType::U64)),
        _ if numbered(name, "%envreg", 32) || numbered(name, "%pm", 8) => Zero,
        "%is_explicit_cluster" => return Some((ExplicitCluster, ScalarType::Pred)),
        _ => return None,
    };
    Some((special, u32))
}
