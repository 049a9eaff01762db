//! The part of the instruction table that is not arithmetic on one lane.

use crate::lower::emit::{Emitter, Result};
use crate::lower::{arithmetic, control, memory, sync};
use crate::ptx::ast::Instruction;

/// What checks operands and emits code.
pub(crate) type Lower = fn(&mut Emitter<'_>, &Instruction) -> Result<()>;

/// One line of the table.
pub(crate) struct Form {
    pub(crate) pattern: &'static str,
    pub(crate) lower: Lower,
}

macro_rules! forms {
    ($($pattern:expr => $lower:path;)*) => {
        /// The lines of the table.
        pub(crate) const FORMS: &[Form] = &[$(Form { pattern: $pattern, lower: $lower }),*];
    };
}

/// Modifiers that only advise the caches.
macro_rules! hints {
    () => {
        "{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}\
         {.L2::evict_normal|.L2::evict_first|.L2::evict_last}{.L2::cache_hint}\
         {.L2::64B|.L2::128B|.L2::256B}"
    };
}

macro_rules! value_types {
    () => {
        "<.b8|.b16|.b32|.b64|.b128|.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64|.f16|.bf16|.f16x2|.bf16x2|.f32|.f64>"
    };
}

macro_rules! any_space {
    () => {
        "{.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry|.param::func}"
    };
}

macro_rules! atomic {
    ($opcode:literal, $rest:literal) => {
        concat!(
            $opcode,
            "{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}\
             {.global|.shared|.shared::cta|.shared::cluster}",
            $rest
        )
    };
}

forms! {
    "and.pred" => arithmetic::predicate_logic;
    "or.pred" => arithmetic::predicate_logic;
    "xor.pred" => arithmetic::predicate_logic;
    "not.pred" => arithmetic::predicate_logic;
    "mov.pred" => arithmetic::predicate_logic;
    "mov<.b16|.b32|.b64|.b128|.u16|.u32|.u64|.s16|.s32|.s64|.f16|.bf16|.f32|.f64>" => arithmetic::mov;
    "setp<.eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan><.and|.or|.xor>{.ftz}<.b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f16|.bf16|.f32|.f64>" => arithmetic::setp;
    "set<.eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>{.and|.or|.xor}{.ftz}<.u16|.s16|.u32|.s32|.f16|.bf16|.f32><.b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f16|.bf16|.f32|.f64>" => arithmetic::set;
    "cvt{.ftz}{.sat}<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64><.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    "cvt<.rni|.rzi|.rmi|.rpi>{.ftz}{.sat}<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64><.f16|.bf16|.f32|.f64>" => arithmetic::cvt_any;
    "cvt{.rn|.rz|.rm|.rp}{.ftz}{.sat}<.f16|.bf16|.f32|.f64><.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    "cvt{.rn|.rz|.rm|.rp|.rni|.rzi|.rmi|.rpi}{.relu}{.ftz}{.sat}<.f16|.bf16|.f32|.f64><.f16|.bf16|.f32|.f64>" => arithmetic::cvt_any;
    "cvt<.rn|.rz>{.satfinite}{.relu}<.f16|.bf16><.f32>" => arithmetic::cvt_any;
    "cvt.rn.satfinite{.relu}<.e4m3x2|.e5m2x2><.f32|.f16x2>" => arithmetic::cvt;
    "cvt.rn{.relu}.f16x2<.e4m3x2|.e5m2x2>" => arithmetic::cvt;
    "add.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "addc{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "sub.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "subc{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "mad<.lo|.hi>.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "madc<.lo|.hi>{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;

    concat!("ld{.weak|.volatile}", any_space!(), "{.ca|.cg|.cs|.lu|.cv}", hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ld<.relaxed|.acquire|.mmio>{.cta|.cluster|.gpu|.sys}", any_space!(), hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ld.global{.ca|.cg|.cs}.nc", hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ldu{.global}{.v2|.v4}", value_types!()) => memory::load;
    concat!("st{.weak|.volatile}", any_space!(), "{.wb|.cg|.cs|.wt}", hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::store;
    concat!("st<.relaxed|.release|.mmio>{.cta|.cluster|.gpu|.sys}", any_space!(), hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::store;
    atomic!("atom", "<.and|.or|.xor>{.L2::cache_hint}<.b32|.b64>") => memory::atomic;
    atomic!("atom", "<.exch|.cas>{.L2::cache_hint}<.b16|.b32|.b64|.b128|.u32|.u64|.s32|.f32>") => memory::atomic;
    atomic!("atom", "<.inc|.dec>{.L2::cache_hint}.u32") => memory::atomic;
    atomic!("atom", ".add{.noftz}{.L2::cache_hint}{.v2|.v4|.v8}<.u32|.s32|.u64|.f16|.f16x2|.bf16|.bf16x2|.f32|.f64>") => memory::atomic;
    atomic!("atom", "<.min|.max>{.noftz}{.L2::cache_hint}{.v2|.v4|.v8}<.u32|.s32|.u64|.s64|.f16|.f16x2|.bf16|.bf16x2>") => memory::atomic;
    atomic!("red", "<.and|.or|.xor>{.L2::cache_hint}<.b32|.b64>") => memory::atomic;
    atomic!("red", "<.inc|.dec>{.L2::cache_hint}.u32") => memory::atomic;
    atomic!("red", ".add{.noftz}{.L2::cache_hint}{.v2|.v4|.v8}<.u32|.s32|.u64|.f16|.f16x2|.bf16|.bf16x2|.f32|.f64>") => memory::atomic;
    atomic!("red", "<.min|.max>{.noftz}{.L2::cache_hint}{.v2|.v4|.v8}<.u32|.s32|.u64|.s64|.f16|.f16x2|.bf16|.bf16x2>") => memory::atomic;
    "cvta<.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry><.u32|.u64>" => memory::cvta;
    "cvta.to<.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry><.u32|.u64>" => memory::cvta;
    "isspacep<.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry>" => memory::isspacep;
    "mapa{.shared::cluster}<.u32|.u64>" => memory::mapa;
    "prefetch{.global|.local|.param|.const}<.L1|.L2|.L2::evict_last|.L2::evict_normal|.tensormap>" => control::nothing;
    "prefetchu.L1" => control::nothing;
    "applypriority{.global}.L2::evict_normal" => control::nothing;
    "discard{.global}.L2" => control::nothing;
    "createpolicy.fractional<.L2::evict_last|.L2::evict_normal|.L2::evict_first|.L2::evict_unchanged>{.L2::evict_first|.L2::evict_unchanged}.b64" => memory::policy;

    "bra{.uni}" => control::bra;
    "brx.idx{.uni}" => control::brx;
    "exit" => control::stop;
    "trap" => control::stop;
    "brkpt" => control::stop;
    "nanosleep.u32" => control::nothing;
    "pmevent{.mask}" => control::nothing;
    "griddepcontrol<.launch_dependents|.wait>" => control::nothing;
    "setmaxnreg<.inc|.dec>.sync.aligned.u32" => control::nothing;
    "membar<.cta|.gl|.sys>" => control::fence;
    "fence{.sc|.acq_rel|.acquire|.release}{.cta|.cluster|.gpu|.sys}" => control::fence;
    "fence.proxy<.alias|.async|.async.global|.async.shared::cta>" => control::fence;
    "fence.proxy.async<.global|.shared::cta|.shared::cluster>" => control::fence;
    "fence.mbarrier_init.release.cluster" => control::fence;
    "activemask.b32" => control::activemask;

    "shfl.sync<.up|.down|.bfly|.idx>.b32" => sync::shuffle;
    "vote.sync<.all|.any|.uni>.pred" => sync::vote;
    "vote.sync.ballot.b32" => sync::vote;
    "match<.any|.all>.sync<.b32|.b64>" => sync::matching;
    "redux.sync<.add|.min|.max><.u32|.s32>" => sync::redux;
    "redux.sync<.and|.or|.xor>.b32" => sync::redux;
    "elect.sync" => sync::elect;
    "bar.warp.sync" => sync::warp_barrier;
    "bar{.cta}<.sync|.arrive>" => sync::barrier;
    "bar{.cta}.red.popc.u32" => sync::barrier;
    "bar{.cta}.red<.and|.or>.pred" => sync::barrier;
    "barrier{.cta}<.sync|.arrive>{.aligned}" => sync::barrier;
    "barrier{.cta}.red.popc{.aligned}.u32" => sync::barrier;
    "barrier{.cta}.red<.and|.or>{.aligned}.pred" => sync::barrier;
    "barrier.cluster.arrive{.release|.relaxed}{.aligned}" => sync::cluster;
    "barrier.cluster.wait{.acquire}{.aligned}" => sync::cluster;
}

#[cfg(test)]
mod tests {
    use super::super::{alu, patterns};
    use std::collections::HashSet;

    #[test]
    fn every_line_is_well_formed_and_unique() {
        let mut seen = HashSet::new();
        for text in super::FORMS
            .iter()
            .map(|f| f.pattern)
            .chain(alu::FORMS.iter().map(|f| f.pattern))
        {
            assert!(seen.insert(text), "{text} stands twice");
            assert_eq!(
                text.matches('<').count(),
                text.matches('>').count(),
                "{text}"
            );
            assert_eq!(
                text.matches('{').count(),
                text.matches('}').count(),
                "{text}"
            );
            assert!(
                text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()),
                "{text}"
            );
        }
        assert!(patterns().len() > 60);
    }
}
