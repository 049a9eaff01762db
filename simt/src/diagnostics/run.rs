//! What is said about a run: faults as text.

use crate::check::Finding;
use crate::exec::fault::{Fault, FaultKind, Nearest, Place, Thread};
use std::fmt::Write;

fn heading(kind: &FaultKind) -> String {
    let rw = |write: bool| if write { "write" } else { "read" };
    match kind {
        FaultKind::OutOfBounds {
            space,
            address,
            bytes,
            write,
            ..
        } => format!(
            "out-of-bounds {} of {bytes} bytes at {space} address {address:#x}",
            rw(*write)
        ),
        FaultKind::UseAfterFree {
            address,
            bytes,
            write,
            ..
        } => {
            format!(
                "{} of {bytes} bytes at {address:#x}, which was freed",
                rw(*write)
            )
        }
        FaultKind::ReadOnly {
            space,
            address,
            name,
        } => {
            format!("write to read-only {space} memory `{name}` at {address:#x}")
        }
        FaultKind::Misaligned {
            space,
            address,
            bytes,
        } => {
            format!("misaligned access of {bytes} bytes at {space} address {address:#x}")
        }
        FaultKind::WrongSpace {
            named,
            address,
            actual,
        } => {
            format!("the instruction names {named} memory, {address:#x} is {actual} memory")
        }
        FaultKind::Trap => "the program executed `trap`".to_owned(),
        FaultKind::Deadlock { .. } => "dead-lock: nothing in the block can go on".to_owned(),
        FaultKind::BlockEnded { rank } => {
            format!("access to shared memory of block {rank} of the cluster, which has ended")
        }
        FaultKind::ClusterBarrier { arrives: true } => {
            "a thread arrives at the cluster's barrier twice without waiting between".to_owned()
        }
        FaultKind::ClusterBarrier { arrives: false } => {
            "a thread waits at the cluster's barrier without having arrived".to_owned()
        }
        FaultKind::TensorMap { address, message } => {
            format!("tensor map at {address:#x}: {message}")
        }
        FaultKind::NoFunction { address } => {
            format!("call through a register: {address:#x} is no function with these parameters")
        }
        FaultKind::CopySource { kept, size } => {
            format!("`cp.async` of {size} bytes is to read {kept} bytes of its source")
        }
        FaultKind::BulkSize { bytes } => {
            format!("a bulk copy of {bytes} bytes; sizes are multiples of 16")
        }
        FaultKind::MbarrierCount { count, most: 0 } => {
            format!("{count} arrivals at an mbarrier whose phase waits for none any more")
        }
        FaultKind::MbarrierCount { count, most } => {
            format!("an mbarrier is to count {count} arrivals; there may be 1 to {most}")
        }
        FaultKind::MbarrierCompletes { count } => {
            format!("{count} arrivals with `.noComplete` are the last of their phase")
        }
        FaultKind::BranchIndex { index, targets } => {
            format!("`brx.idx` with index {index} of {targets} targets")
        }
        FaultKind::BarrierNumber { number } => format!("barrier {number}; there are 0 to 15"),
        FaultKind::BarrierCount { count } => {
            format!("a barrier for {count} threads; counts are multiples of 32 up to 1024")
        }
        FaultKind::Steps { limit } => format!("stopped after {limit} instructions"),
        FaultKind::Operand { message } => format!("unsupported: {message}"),
    }
}

fn usual_cause(kind: &FaultKind) -> Option<&'static str> {
    Some(match kind {
        FaultKind::OutOfBounds {
            nearest: Some(near),
            ..
        } if near.name == crate::lower::call::STACK_NAME => {
            "a function that calls itself without end, or deeper than the stack holds"
        }
        FaultKind::OutOfBounds { nearest: None, .. } => {
            "an index that was never added to a base pointer, or a null pointer"
        }
        FaultKind::OutOfBounds { .. } => {
            "a missing bounds check in the last, partial tile, or elements counted as bytes"
        }
        FaultKind::UseAfterFree { .. } => "a pointer kept across calls after its buffer was freed",
        FaultKind::ReadOnly { .. } => "an output written through an input's pointer",
        FaultKind::Misaligned { bytes: 17.., .. } => {
            "a tile or a tensor map placed without the alignment that bulk copies demand"
        }
        FaultKind::Misaligned { .. } => {
            "a vector access whose row length is not a multiple of the vector"
        }
        FaultKind::Trap => "an assertion or a panic compiled into the kernel",
        FaultKind::Deadlock { .. } => {
            "a barrier or `.sync` operation that some of the threads it waits for never reach"
        }
        FaultKind::BlockEnded { .. } => {
            "no `cluster.sync()` before the blocks end: each must outlive the others' accesses"
        }
        FaultKind::ClusterBarrier { .. } => {
            "`barrier.cluster.arrive` and `.wait` that some path does not pair"
        }
        FaultKind::TensorMap { .. } => {
            "a tensor map passed by reference to the host's memory, or written by something other \
             than the host's encoder or `tensormap.replace`"
        }
        FaultKind::Steps { .. } => "a loop whose end condition never holds",
        FaultKind::WrongSpace { .. } => {
            "a generic pointer into other memory, or one that was never converted by `cvta`"
        }
        FaultKind::NoFunction { .. } => {
            "a function pointer that was never set, or set to a function of another signature"
        }
        FaultKind::CopySource { .. } => {
            "a source size of the last, partial tile that was not cut off at the size of the copy, \
             or that became negative"
        }
        FaultKind::BulkSize { .. } => {
            "a partial tile copied by its own size, or elements counted as bytes"
        }
        FaultKind::MbarrierCount { .. } => {
            "a thread that arrives twice in a phase whose bytes are still on their way, or a count \
             of warps where threads arrive"
        }
        FaultKind::MbarrierCompletes { .. } => "a count that leaves no arrival to the waiting side",
        FaultKind::BranchIndex { .. } => "a jump table entered without a check of the index",
        FaultKind::BarrierNumber { .. } => "a barrier number computed from a warp or tile index",
        FaultKind::BarrierCount { .. } => "a count of threads where part of a warp is left out",
        FaultKind::Operand { .. } => return None,
    })
}

/// `block (1,0,0), thread (3,0,0)`.
pub fn thread(t: &Thread) -> String {
    let [a, b, c] = t.block;
    let [x, y, z] = t.thread;
    format!("block ({a},{b},{c}), thread ({x},{y},{z})")
}

/// The place as lines of text.
pub fn place(out: &mut String, p: &Place) {
    let number = p.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(out, "{gutter}--> in `{}`, PTX line {}", p.function, p.line);
    if let Some((file, line, column)) = &p.source {
        let _ = writeln!(out, "{gutter}    {file}:{line}:{column}");
    }
    let _ = writeln!(out, "{number} | {}", p.text);
}

fn nearest(n: &Nearest) -> String {
    let freed = if n.freed { ", freed" } else { "" };
    let past = n.offset - n.bytes as i64;
    let relation = if n.offset < 0 {
        format!("{} bytes before", -n.offset)
    } else if past >= 0 {
        format!("{past} bytes past the end of")
    } else {
        format!("at byte {} of", n.offset)
    };
    format!("{relation} `{}` ({} bytes{freed})", n.name, n.bytes)
}

/// A fault with everything known about it.
pub fn fault(f: &Fault) -> String {
    let mut out = format!("{}\n", heading(&f.kind));
    if let Some(p) = &f.place {
        place(&mut out, p);
    }
    match &f.thread {
        Some(t) => drop(writeln!(out, "  = kernel `{}`, {}", f.kernel, thread(t))),
        None => drop(writeln!(out, "  = kernel `{}`", f.kernel)),
    }
    match &f.kind {
        FaultKind::OutOfBounds {
            nearest: Some(n), ..
        }
        | FaultKind::UseAfterFree {
            nearest: Some(n), ..
        } => {
            let _ = writeln!(out, "  = {}", nearest(n));
        }
        FaultKind::Deadlock { waiting } => {
            for line in waiting {
                let _ = writeln!(out, "  = {line}");
            }
        }
        _ => {}
    }
    if let Some(cause) = usual_cause(&f.kind) {
        let _ = writeln!(out, "  = usually: {cause}");
    }
    for earlier in &f.findings {
        let _ = write!(out, "\nbefore that: {}", finding(earlier));
    }
    out
}

/// A finding with everything known about it.
pub fn finding(f: &Finding) -> String {
    let mut out = format!("{}\n", f.message);
    for side in &f.sides {
        place(&mut out, &side.place);
        let _ = writeln!(out, "  = {}: {}", side.what, thread(&side.thread));
    }
    let _ = writeln!(out, "  = kernel `{}`, seen {} times", f.kernel, f.times);
    let _ = writeln!(
        out,
        "  = found by `{}`; usually: {}",
        f.checker, f.usual_cause
    );
    out
}
