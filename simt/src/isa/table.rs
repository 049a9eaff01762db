//! The part of the instruction table that is not arithmetic on one lane.

use crate::lower::emit::{Emitter, Result};
use crate::lower::{arithmetic, asynchronous, bulk, control, matrix, memory, pairs, sync, wgmma};
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
         {.L2::evict_normal|.L2::evict_first|.L2::evict_last}{.L2::cache_hint}"
    };
}

/// How much a load may fetch ahead.
macro_rules! ahead {
    () => {
        "{.L2::64B|.L2::128B|.L2::256B}"
    };
}

macro_rules! value_types {
    () => {
        "<.b8|.b16|.b32|.b64|.b128|.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64|.f32|.f64>"
    };
}

/// The comparisons of floats, true or false for operands without an order.
macro_rules! float_relations {
    () => {
        "<.eq|.ne|.lt|.le|.gt|.ge|.equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan>"
    };
}

macro_rules! any_space {
    () => {
        "{.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry|.param::func}"
    };
}

/// Spaces whose memory threads may share and change.
macro_rules! common_space {
    () => {
        "{.global|.shared|.shared::cta|.shared::cluster}"
    };
}

macro_rules! window {
    () => {
        "<.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry>"
    };
}

macro_rules! atom {
    ($rest:literal) => {
        concat!(
            "atom{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}",
            common_space!(),
            $rest
        )
    };
}

macro_rules! red {
    ($rest:literal) => {
        concat!(
            "red{.relaxed|.release}{.cta|.cluster|.gpu|.sys}",
            common_space!(),
            $rest
        )
    };
}

/// Atomics on vectors, which only device memory has.
macro_rules! atom_vector {
    ($rest:literal) => {
        concat!(
            "atom{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}{.global}",
            $rest
        )
    };
}

macro_rules! red_vector {
    ($rest:literal) => {
        concat!(
            "red{.relaxed|.release}{.cta|.cluster|.gpu|.sys}{.global}",
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
    "mov<.b16|.b32|.b64|.b128|.u16|.u32|.u64|.s16|.s32|.s64|.f32|.f64>" => arithmetic::mov;
    "setp<.eq|.ne><.and|.or|.xor><.b16|.b32|.b64>" => arithmetic::setp;
    "setp<.eq|.ne|.lt|.le|.gt|.ge><.and|.or|.xor><.s16|.s32|.s64>" => arithmetic::setp;
    "setp<.eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs><.and|.or|.xor><.u16|.u32|.u64>" => arithmetic::setp;
    concat!("setp", float_relations!(), "<.and|.or|.xor>{.ftz}<.f16|.f32>") => arithmetic::setp;
    concat!("setp", float_relations!(), "<.and|.or|.xor><.bf16|.f64>") => arithmetic::setp;
    "set<.eq|.ne>{.and|.or|.xor}<.u32|.s32|.f16|.bf16|.f32><.b16|.b32|.b64>" => arithmetic::set;
    "set<.eq|.ne|.lt|.le|.gt|.ge>{.and|.or|.xor}<.u32|.s32|.f16|.bf16|.f32><.s16|.s32|.s64>" => arithmetic::set;
    "set<.eq|.ne|.lt|.le|.gt|.ge|.lo|.ls|.hi|.hs>{.and|.or|.xor}<.u32|.s32|.f16|.bf16|.f32><.u16|.u32|.u64>" => arithmetic::set;
    concat!("set", float_relations!(), "{.and|.or|.xor}{.ftz}<.u16|.s16|.u32|.s32|.f16>.f16") => arithmetic::set;
    concat!("set", float_relations!(), "{.and|.or|.xor}{.ftz}<.u32|.s32|.f16|.f32>.f32") => arithmetic::set;
    concat!("set", float_relations!(), "{.and|.or|.xor}.bf16<.f16|.f32>") => arithmetic::set;
    concat!("set", float_relations!(), "{.and|.or|.xor}<.u16|.s16|.u32|.s32|.bf16>.bf16") => arithmetic::set;
    concat!("set", float_relations!(), "{.and|.or|.xor}<.u32|.s32|.f16|.bf16|.f32>.f64") => arithmetic::set;
    concat!("setp", float_relations!(), "{.and|.or|.xor}{.ftz}.f16x2") => pairs::compare;
    concat!("setp", float_relations!(), "{.and|.or|.xor}.bf16x2") => pairs::compare;
    concat!("set", float_relations!(), "{.and|.or|.xor}{.ftz}<.f16x2|.u32|.s32>.f16x2") => pairs::compare;
    concat!("set", float_relations!(), "{.and|.or|.xor}<.bf16x2|.u32|.s32>.bf16x2") => pairs::compare;
    "cvt<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64><.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    // Between integers where the one type does not hold all of the other.
    "cvt.sat<.u8|.s8><.u16|.u32|.u64|.s16|.s32|.s64>" => arithmetic::cvt;
    "cvt.sat.u8.s8" => arithmetic::cvt;
    "cvt.sat.s8.u8" => arithmetic::cvt;
    "cvt.sat<.u16|.s16><.u32|.u64|.s32|.s64>" => arithmetic::cvt;
    "cvt.sat.u16<.s8|.s16>" => arithmetic::cvt;
    "cvt.sat.s16.u16" => arithmetic::cvt;
    "cvt.sat<.u32|.s32><.u64|.s64>" => arithmetic::cvt;
    "cvt.sat.u32<.s8|.s16|.s32>" => arithmetic::cvt;
    "cvt.sat.s32.u32" => arithmetic::cvt;
    "cvt.sat.u64<.s8|.s16|.s32|.s64>" => arithmetic::cvt;
    "cvt.sat.s64.u64" => arithmetic::cvt;
    "cvt<.rni|.rzi|.rmi|.rpi>{.ftz}{.sat}<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>.f32" => arithmetic::cvt_any;
    "cvt<.rni|.rzi|.rmi|.rpi>{.sat}<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64><.f16|.f64>" => arithmetic::cvt_any;
    "cvt<.rni|.rzi|.rmi|.rpi><.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>.bf16" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>{.ftz}{.sat}.f32<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>{.sat}<.f16|.f64><.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>.bf16<.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64>" => arithmetic::cvt_any;
    "cvt<.rn|.rz>.relu<.f16|.bf16>.f32" => arithmetic::cvt;
    "cvt<.rn|.rz|.rm|.rp>{.ftz}{.sat}.f32.f64" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>{.ftz}{.sat}.f16.f32" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>{.sat}.f16.f64" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>{.ftz}.bf16.f32" => arithmetic::cvt_any;
    "cvt<.rn|.rz|.rm|.rp>.bf16.f64" => arithmetic::cvt_any;
    "cvt{.ftz}{.sat}.f32.f16" => arithmetic::cvt_any;
    "cvt{.ftz}{.sat}.f64.f32" => arithmetic::cvt_any;
    "cvt{.sat}.f64.f16" => arithmetic::cvt_any;
    // ptxas rounds to nearest where none of these four says how.
    "cvt{.rn|.rz|.rm|.rp}{.ftz}.f32.bf16" => arithmetic::cvt_any;
    "cvt{.rn|.rz|.rm|.rp}.f64.bf16" => arithmetic::cvt_any;
    "cvt{.rn|.rz|.rm|.rp}.f16.bf16" => arithmetic::cvt_any;
    "cvt{.rn|.rz|.rm|.rp}.bf16.f16" => arithmetic::cvt_any;
    "cvt{.rni|.rzi|.rmi|.rpi}{.ftz}{.sat}.f32.f32" => arithmetic::cvt_any;
    "cvt{.rni|.rzi|.rmi|.rpi}{.sat}.f16.f16" => arithmetic::cvt_any;
    "cvt{.rni|.rzi|.rmi|.rpi}{.sat}.f64.f64" => arithmetic::cvt_any;
    "cvt{.rni|.rzi|.rmi|.rpi}.bf16.bf16" => arithmetic::cvt_any;
    "cvt<.rn|.rz>{.relu}.satfinite<.f16|.bf16|.f16x2|.bf16x2>.f32" => arithmetic::cvt;
    "cvt.rn.satfinite{.relu}<.e4m3x2|.e5m2x2><.f32|.f16x2>" => arithmetic::cvt;
    "cvt.rn{.relu}.f16x2<.e4m3x2|.e5m2x2>" => arithmetic::cvt;
    "lop3<.or|.and>.b32" => arithmetic::lop3_combined;
    "add.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "addc{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "sub.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "subc{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "mad<.lo|.hi>.cc<.u32|.s32|.u64|.s64>" => arithmetic::carry;
    "madc<.lo|.hi>{.cc}<.u32|.s32|.u64|.s64>" => arithmetic::carry;

    concat!("ld{.weak}", any_space!(), "{.ca|.cg|.cs|.lu|.cv}", hints!(), ahead!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ld.volatile", common_space!(), ahead!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ld<.relaxed|.acquire><.cta|.cluster|.gpu|.sys>", common_space!(), hints!(), ahead!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ld.mmio.relaxed.sys{.global}", value_types!()) => memory::load;
    concat!("ld.global{.ca|.cg|.cs}.nc", hints!(), ahead!(), "{.v2|.v4|.v8}", value_types!()) => memory::load;
    concat!("ldu{.global}{.v2|.v4}", value_types!()) => memory::load;
    concat!("st{.weak}{.global|.shared|.shared::cta|.shared::cluster|.local|.param|.param::func}{.wb|.cg|.cs|.wt}", hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::store;
    concat!("st.volatile", common_space!(), "{.v2|.v4|.v8}", value_types!()) => memory::store;
    concat!("st<.relaxed|.release><.cta|.cluster|.gpu|.sys>", common_space!(), hints!(), "{.v2|.v4|.v8}", value_types!()) => memory::store;
    concat!("st.mmio.relaxed.sys{.global}", value_types!()) => memory::store;
    atom!("<.and|.or|.xor>{.L2::cache_hint}<.b32|.b64>") => memory::atomic;
    atom!(".exch{.L2::cache_hint}<.b32|.b64|.b128>") => memory::atomic;
    atom!(".cas<.b16|.b32|.b64|.b128>") => memory::atomic;
    atom!("<.inc|.dec>{.L2::cache_hint}.u32") => memory::atomic;
    atom!(".add{.L2::cache_hint}<.u32|.s32|.u64|.f32|.f64>") => memory::atomic;
    atom!(".add.noftz{.L2::cache_hint}<.f16|.f16x2|.bf16|.bf16x2>") => memory::atomic;
    atom!("<.min|.max>{.L2::cache_hint}<.u32|.s32|.u64|.s64>") => memory::atomic;
    atom_vector!(".add{.L2::cache_hint}<.v2|.v4>.f32") => memory::atomic;
    atom_vector!("<.add|.min|.max>.noftz{.L2::cache_hint}<.v2|.v4|.v8><.f16|.bf16>") => memory::atomic;
    atom_vector!("<.add|.min|.max>.noftz{.L2::cache_hint}<.v2|.v4><.f16x2|.bf16x2>") => memory::atomic;
    red!("<.and|.or|.xor>{.L2::cache_hint}<.b32|.b64>") => memory::atomic;
    red!("<.inc|.dec>{.L2::cache_hint}.u32") => memory::atomic;
    red!(".add{.L2::cache_hint}<.u32|.s32|.u64|.f32|.f64>") => memory::atomic;
    red!(".add.noftz{.L2::cache_hint}<.f16|.f16x2|.bf16|.bf16x2>") => memory::atomic;
    red!("<.min|.max>{.L2::cache_hint}<.u32|.s32|.u64|.s64>") => memory::atomic;
    red_vector!(".add{.L2::cache_hint}<.v2|.v4>.f32") => memory::atomic;
    red_vector!("<.add|.min|.max>.noftz{.L2::cache_hint}<.v2|.v4|.v8><.f16|.bf16>") => memory::atomic;
    red_vector!("<.add|.min|.max>.noftz{.L2::cache_hint}<.v2|.v4><.f16x2|.bf16x2>") => memory::atomic;
    concat!("cvta", window!(), ".u64") => memory::cvta;
    concat!("cvta.to", window!(), ".u64") => memory::cvta;
    concat!("isspacep", window!()) => memory::isspacep;
    "mapa{.shared::cluster}<.u32|.u64>" => memory::mapa;
    "prefetch{.global}<.L1|.L2|.L2::evict_last|.L2::evict_normal>" => control::nothing;
    "prefetch.local<.L1|.L2>" => control::nothing;
    "prefetch{.const|.param}.tensormap" => control::nothing;
    "prefetchu.L1" => control::nothing;
    "applypriority{.global}.L2::evict_normal" => control::nothing;
    "discard{.global}.L2" => control::nothing;
    "createpolicy.fractional<.L2::evict_last|.L2::evict_normal|.L2::evict_first|.L2::evict_unchanged>{.L2::evict_first|.L2::evict_unchanged}.b64" => memory::policy;

    "bra{.uni}" => control::bra;
    "call{.uni}" => control::of_body;
    "ret{.uni}" => control::of_body;
    "brx.idx{.uni}" => control::brx;
    "exit" => control::stop;
    "trap" => control::stop;
    "brkpt" => control::stop;
    "nanosleep.u32" => control::nothing;
    "pmevent{.mask}" => control::nothing;
    "griddepcontrol<.launch_dependents|.wait>" => control::nothing;
    "setmaxnreg<.inc|.dec>.sync.aligned.u32" => control::nothing;
    "membar<.cta|.gl|.sys>" => control::fence;
    "fence{.sc|.acq_rel|.acquire|.release}<.cta|.cluster|.gpu|.sys>" => control::fence;
    "fence.proxy<.alias|.async>" => control::fence;
    "fence.proxy.async<.global|.shared::cta|.shared::cluster>" => control::fence;
    "fence.acquire.sync_restrict::shared::cluster.cluster" => control::fence;
    "fence.release.sync_restrict::shared::cta.cluster" => control::fence;
    "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster" => control::fence;
    "fence.proxy.async::generic.release.sync_restrict::shared::cta.cluster" => control::fence;
    "membar.proxy.alias" => control::fence;
    "fence.mbarrier_init.release.cluster" => control::fence;
    "cp.async<.ca|.cg><.shared|.shared::cta>.global{.L2::cache_hint}{.L2::64B|.L2::128B|.L2::256B}" => asynchronous::copy;
    "cp.async.commit_group" => asynchronous::group;
    "cp.async.wait_group" => asynchronous::group;
    "cp.async.wait_all" => asynchronous::group;
    "cp.async.mbarrier.arrive{.noinc}{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{.multicast::cluster}{.L2::cache_hint}" => bulk::linear;
    "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes{.L2::cache_hint}" => bulk::linear;
    "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes" => bulk::linear;
    "cp.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}" => bulk::linear;
    "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}<.and|.or|.xor><.b32|.b64>" => bulk::linear;
    "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}<.inc|.dec>.u32" => bulk::linear;
    "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}.add<.u32|.s32|.u64|.f32|.f64>" => bulk::linear;
    "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}.add.noftz<.f16|.bf16>" => bulk::linear;
    "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}<.min|.max><.u32|.s32|.u64|.s64|.f16|.bf16>" => bulk::linear;
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes<.and|.or|.xor>.b32" => bulk::linear;
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add<.u32|.s32|.u64>" => bulk::linear;
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes<.inc|.dec>.u32" => bulk::linear;
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes<.min|.max><.u32|.s32>" => bulk::linear;
    "cp.async.bulk.tensor<.1d|.2d|.3d|.4d|.5d>.shared::cluster.global{.tile}.mbarrier::complete_tx::bytes{.multicast::cluster}{.L2::cache_hint}" => bulk::tensor;
    "cp.async.bulk.tensor<.1d|.2d|.3d|.4d|.5d>.shared::cta.global{.tile}.mbarrier::complete_tx::bytes{.L2::cache_hint}" => bulk::tensor;
    "cp.async.bulk.tensor<.1d|.2d|.3d|.4d|.5d>.global.shared::cta{.tile}.bulk_group{.L2::cache_hint}" => bulk::tensor;
    "cp.reduce.async.bulk.tensor<.1d|.2d|.3d|.4d|.5d>.global.shared::cta<.add|.min|.max|.inc|.dec|.and|.or|.xor>{.tile}.bulk_group{.L2::cache_hint}" => bulk::tensor;
    "cp.async.bulk.prefetch.tensor<.1d|.2d|.3d|.4d|.5d>.L2.global{.tile}{.L2::cache_hint}" => bulk::prefetch;
    "st.async{.weak}{.shared::cluster}.mbarrier::complete_tx::bytes{.v2|.v4}<.b32|.u32|.s32|.f32>" => bulk::remote;
    "st.async{.weak}{.shared::cluster}.mbarrier::complete_tx::bytes{.v2}<.b64|.u64|.s64|.f64>" => bulk::remote;
    "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes<.inc|.dec>.u32" => bulk::remote;
    "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.add<.u32|.s32|.u64|.s64>" => bulk::remote;
    "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes<.min|.max><.u32|.s32>" => bulk::remote;
    "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes<.and|.or|.xor>.b32" => bulk::remote;
    "tensormap.replace.tile<.global_address|.global_stride>{.global|.shared::cta}.b1024.b64" => bulk::replace;
    "tensormap.replace.tile<.rank|.box_dim|.global_dim|.element_stride|.elemtype|.interleave_layout|.swizzle_mode|.fill_mode>{.global|.shared::cta}.b1024.b32" => bulk::replace;
    "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release<.cta|.cluster|.gpu|.sys>.sync.aligned" => bulk::copy_map;
    "fence.proxy.tensormap::generic.release<.cta|.cluster|.gpu|.sys>" => control::fence;
    "fence.proxy.tensormap::generic.acquire<.cta|.cluster|.gpu|.sys>" => control::fence_of_map;
    "getctarank{.shared::cluster}<.u32|.u64>" => memory::rank_of;
    "cp.async.bulk.commit_group" => asynchronous::group;
    "cp.async.bulk.wait_group{.read}" => asynchronous::group;
    "cp.async.bulk.prefetch.L2.global{.L2::cache_hint}" => control::nothing;
    "mbarrier.init{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier.inval{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier<.expect_tx|.complete_tx>{.shared|.shared::cta|.shared::cluster}.b64" => asynchronous::barrier;
    "mbarrier<.expect_tx|.complete_tx>.relaxed<.cta|.cluster>{.shared|.shared::cta|.shared::cluster}.b64" => asynchronous::barrier;
    "mbarrier<.arrive|.arrive_drop>{.expect_tx}{.shared|.shared::cta|.shared::cluster}.b64" => asynchronous::barrier;
    "mbarrier<.arrive|.arrive_drop>{.expect_tx}<.release|.relaxed><.cta|.cluster>{.shared|.shared::cta|.shared::cluster}.b64" => asynchronous::barrier;
    "mbarrier<.arrive|.arrive_drop>.noComplete{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier<.arrive|.arrive_drop>.noComplete.release.cta{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier<.test_wait|.try_wait>{.parity}{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier<.test_wait|.try_wait>{.parity}<.acquire|.relaxed><.cta|.cluster>{.shared|.shared::cta}.b64" => asynchronous::barrier;
    "mbarrier.pending_count.b64" => asynchronous::barrier;
    "wgmma.fence.sync.aligned" => control::nothing;
    "wgmma.commit_group.sync.aligned" => control::nothing;
    "wgmma.wait_group.sync.aligned" => control::nothing;
    "wgmma.mma_async.sync.aligned<.m64n8k16|.m64n16k16|.m64n24k16|.m64n32k16|.m64n40k16|.m64n48k16|.m64n56k16|.m64n64k16|.m64n72k16|.m64n80k16|.m64n88k16|.m64n96k16|.m64n104k16|.m64n112k16|.m64n120k16|.m64n128k16|.m64n136k16|.m64n144k16|.m64n152k16|.m64n160k16|.m64n168k16|.m64n176k16|.m64n184k16|.m64n192k16|.m64n200k16|.m64n208k16|.m64n216k16|.m64n224k16|.m64n232k16|.m64n240k16|.m64n248k16|.m64n256k16><.f16|.f32>.f16.f16" => wgmma::multiply;
    "wgmma.mma_async.sync.aligned<.m64n8k16|.m64n16k16|.m64n24k16|.m64n32k16|.m64n40k16|.m64n48k16|.m64n56k16|.m64n64k16|.m64n72k16|.m64n80k16|.m64n88k16|.m64n96k16|.m64n104k16|.m64n112k16|.m64n120k16|.m64n128k16|.m64n136k16|.m64n144k16|.m64n152k16|.m64n160k16|.m64n168k16|.m64n176k16|.m64n184k16|.m64n192k16|.m64n200k16|.m64n208k16|.m64n216k16|.m64n224k16|.m64n232k16|.m64n240k16|.m64n248k16|.m64n256k16>.f32.bf16.bf16" => wgmma::multiply;
    "wgmma.mma_async.sync.aligned<.m64n8k8|.m64n16k8|.m64n24k8|.m64n32k8|.m64n40k8|.m64n48k8|.m64n56k8|.m64n64k8|.m64n72k8|.m64n80k8|.m64n88k8|.m64n96k8|.m64n104k8|.m64n112k8|.m64n120k8|.m64n128k8|.m64n136k8|.m64n144k8|.m64n152k8|.m64n160k8|.m64n168k8|.m64n176k8|.m64n184k8|.m64n192k8|.m64n200k8|.m64n208k8|.m64n216k8|.m64n224k8|.m64n232k8|.m64n240k8|.m64n248k8|.m64n256k8>.f32.tf32.tf32" => wgmma::multiply;
    "wgmma.mma_async.sync.aligned<.m64n8k32|.m64n16k32|.m64n24k32|.m64n32k32|.m64n48k32|.m64n64k32|.m64n80k32|.m64n96k32|.m64n112k32|.m64n128k32|.m64n144k32|.m64n160k32|.m64n176k32|.m64n192k32|.m64n208k32|.m64n224k32|.m64n240k32|.m64n256k32>{.satfinite}.s32<.s8|.u8><.s8|.u8>{.satfinite}" => wgmma::multiply;
    "wgmma.mma_async.sync.aligned<.m64n8k32|.m64n16k32|.m64n24k32|.m64n32k32|.m64n40k32|.m64n48k32|.m64n56k32|.m64n64k32|.m64n72k32|.m64n80k32|.m64n88k32|.m64n96k32|.m64n104k32|.m64n112k32|.m64n120k32|.m64n128k32|.m64n136k32|.m64n144k32|.m64n152k32|.m64n160k32|.m64n168k32|.m64n176k32|.m64n184k32|.m64n192k32|.m64n200k32|.m64n208k32|.m64n216k32|.m64n224k32|.m64n232k32|.m64n240k32|.m64n248k32|.m64n256k32><.f16|.f32><.e4m3|.e5m2><.e4m3|.e5m2>" => wgmma::multiply;
    "wgmma.mma_async.sync.aligned<.m64n8k256|.m64n16k256|.m64n24k256|.m64n32k256|.m64n48k256|.m64n64k256|.m64n80k256|.m64n96k256|.m64n112k256|.m64n128k256|.m64n144k256|.m64n160k256|.m64n176k256|.m64n192k256|.m64n208k256|.m64n224k256|.m64n240k256|.m64n256k256>.s32.b1.b1.and.popc" => wgmma::multiply;
    "activemask.b32" => control::activemask;

    "mma.sync.aligned<.m16n8k8|.m16n8k16><.row><.col>.f16.f16.f16.f16" => matrix::mma;
    "mma.sync.aligned<.m16n8k8|.m16n8k16><.row><.col>.f32.f16.f16.f32" => matrix::mma;
    "mma.sync.aligned.m8n8k4<.row|.col><.row|.col>.f16.f16.f16.f16" => matrix::mma;
    "mma.sync.aligned.m8n8k4<.row|.col><.row|.col>.f32.f16.f16<.f16|.f32>" => matrix::mma;
    "mma.sync.aligned<.m16n8k8|.m16n8k16><.row><.col>.f32.bf16.bf16.f32" => matrix::mma;
    "mma.sync.aligned<.m16n8k4|.m16n8k8><.row><.col>.f32.tf32.tf32.f32" => matrix::mma;
    "mma.sync.aligned<.m16n8k16|.m16n8k32><.row><.col>.f32<.e4m3|.e5m2><.e4m3|.e5m2>.f32" => matrix::mma;
    "mma.sync.aligned<.m16n8k16|.m16n8k32><.row><.col>.f16<.e4m3|.e5m2><.e4m3|.e5m2>.f16" => matrix::mma;
    "mma.sync.aligned<.m8n8k16|.m16n8k16|.m16n8k32><.row><.col>{.satfinite}.s32<.s8|.u8><.s8|.u8>.s32" => matrix::mma;
    "mma.sync.aligned<.m8n8k32|.m16n8k32|.m16n8k64><.row><.col>{.satfinite}.s32<.s4|.u4><.s4|.u4>.s32" => matrix::mma;
    "mma.sync.aligned<.m8n8k128|.m16n8k128|.m16n8k256><.row><.col>.s32.b1.b1.s32<.xor|.and>.popc" => matrix::mma;
    "mma.sync.aligned<.m8n8k4|.m16n8k4|.m16n8k8|.m16n8k16><.row><.col>{.rn|.rz|.rm|.rp}.f64.f64.f64.f64" => matrix::mma;
    "mma.sync.aligned<.m8n8k4|.m16n8k4|.m16n8k8|.m16n8k16><.row><.col>.f64.f64.f64.f64<.rn|.rz|.rm|.rp>" => matrix::mma;
    "ldmatrix.sync.aligned.m8n8<.x1|.x2|.x4>{.trans}{.shared|.shared::cta}.b16" => matrix::ldmatrix;
    "stmatrix.sync.aligned.m8n8<.x1|.x2|.x4>{.trans}{.shared|.shared::cta}.b16" => matrix::stmatrix;
    "movmatrix.sync.aligned.m8n8.trans.b16" => matrix::movmatrix;
    "wmma.load<.a|.b>.sync.aligned<.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>{.global|.shared|.shared::cta}<.f16|.bf16|.s8|.u8>" => matrix::wmma_memory;
    "wmma.load.c.sync.aligned<.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>{.global|.shared|.shared::cta}<.f16|.f32|.s32>" => matrix::wmma_memory;
    "wmma.load<.a|.b>.sync.aligned<.row|.col>.m16n16k8{.global|.shared|.shared::cta}.tf32" => matrix::wmma_memory;
    "wmma.load.c.sync.aligned<.row|.col>.m16n16k8{.global|.shared|.shared::cta}.f32" => matrix::wmma_memory;
    "wmma.load<.a|.b|.c>.sync.aligned<.row|.col>.m8n8k4{.global|.shared|.shared::cta}.f64" => matrix::wmma_memory;
    "wmma.load.a.sync.aligned.row.m8n8k32{.global|.shared|.shared::cta}<.s4|.u4>" => matrix::wmma_memory;
    "wmma.load.b.sync.aligned.col.m8n8k32{.global|.shared|.shared::cta}<.s4|.u4>" => matrix::wmma_memory;
    "wmma.load.a.sync.aligned.row.m8n8k128{.global|.shared|.shared::cta}.b1" => matrix::wmma_memory;
    "wmma.load.b.sync.aligned.col.m8n8k128{.global|.shared|.shared::cta}.b1" => matrix::wmma_memory;
    "wmma.load.c.sync.aligned<.row|.col><.m8n8k32|.m8n8k128>{.global|.shared|.shared::cta}.s32" => matrix::wmma_memory;
    "wmma.store.d.sync.aligned<.row|.col><.m8n8k32|.m8n8k128>{.global|.shared|.shared::cta}.s32" => matrix::wmma_memory;
    "wmma.store.d.sync.aligned<.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>{.global|.shared|.shared::cta}<.f16|.f32|.s32>" => matrix::wmma_memory;
    "wmma.store.d.sync.aligned<.row|.col>.m16n16k8{.global|.shared|.shared::cta}.f32" => matrix::wmma_memory;
    "wmma.store.d.sync.aligned<.row|.col>.m8n8k4{.global|.shared|.shared::cta}.f64" => matrix::wmma_memory;
    // PTX took `.satfinite` from the halves with version 6.5.
    "wmma.mma.sync.aligned<.row|.col><.row|.col><.m16n16k16|.m8n32k16|.m32n8k16><.f16|.f32><.f16|.f32>{.satfinite}" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>.f32.bf16.bf16.f32" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col>.m16n16k8.f32.tf32.tf32.f32" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>.s32.s8.s8.s32{.satfinite}" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col><.m16n16k16|.m8n32k16|.m32n8k16>.s32.u8.u8.s32{.satfinite}" => matrix::wmma_mma;
    "wmma.mma.sync.aligned.row.col.m8n8k32.s32.s4.s4.s32{.satfinite}" => matrix::wmma_mma;
    "wmma.mma.sync.aligned.row.col.m8n8k32.s32.u4.u4.s32{.satfinite}" => matrix::wmma_mma;
    "wmma.mma<.xor|.and>.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col>.m8n8k4{.rn|.rz|.rm|.rp}.f64.f64.f64.f64" => matrix::wmma_mma;
    "wmma.mma.sync.aligned<.row|.col><.row|.col>.m8n8k4.f64.f64.f64.f64<.rn|.rz|.rm|.rp>" => matrix::wmma_mma;

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
