//! What the checkers keep of device memory: at most four bytes a byte, however it is touched.

use simt::{Arg, Launch, Machine, Options, compile};

/// Every thread reads and writes one element of a square of 512 × 512: along rows or down columns.
fn kept(access: &str, width: u32, columns: bool) -> f64 {
    let place = if columns {
        "and.b32 %r5, %r4, 511; shl.b32 %r5, %r5, 9; shr.u32 %r6, %r4, 9; add.u32 %r4, %r5, %r6;"
    } else {
        ""
    };
    let text = format!(
        ".version 8.0
        .target sm_80
        .address_size 64
        .visible .entry kernel(.param .u64 data) {{
            .reg .b32 %r<16>; .reg .b64 %rd<8>;
            ld.param.u64 %rd1, [data];
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %ctaid.x;
            mad.lo.u32 %r4, %r2, 256, %r1;
            {place}
            mul.wide.u32 %rd2, %r4, {width};
            add.u64 %rd3, %rd1, %rd2;
            ld.global.{access} %r7, [%rd3];
            st.global.{access} [%rd3], %r7;
            ret;
        }}"
    );
    let mut machine = Machine::new(1 << 24);
    let loaded = compile(&text).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&loaded).expect("fits");
    let bytes = u64::from(width) << 18;
    let data = machine.allocate_zeroed(bytes, "data").expect("fits");
    let args = [Arg::Pointer(data)];
    let launch = Launch {
        grid: [1 << 10, 1, 1],
        block: [256, 1, 1],
        ..Launch::new("kernel", &args)
    };
    let report = machine.launch(&loaded, &launch, &Options::default());
    let report = report.unwrap_or_else(|e| panic!("{e}"));
    assert!(report.findings.is_empty(), "{}", report.findings[0]);
    report.record_bytes as f64 / bytes as f64
}

#[test]
fn no_more_than_four_bytes_a_byte() {
    for (access, width) in [("u32", 4), ("u16", 2), ("u8", 1)] {
        for columns in [false, true] {
            let kept = kept(access, width, columns);
            // Both sides of every word were touched, and a word has four bytes a side.
            assert!(kept >= 2.0, "{kept} bytes a byte are not all records");
            assert!(
                kept <= 4.0,
                "{kept} bytes a byte, .{access}, columns: {columns}"
            );
        }
    }
}

/// Every block writes a row of 1024 words, makes it known to the asynchronous proxy, and copies it to
/// shared memory in bulk.
#[test]
fn nor_where_bulk_copies_read_what_threads_wrote() {
    let text = ".version 8.0
        .target sm_90
        .address_size 64
        .visible .entry kernel(.param .u64 data) {
            .reg .pred %p<3>; .reg .b32 %r<16>; .reg .b64 %rd<8>;
            .shared .align 128 .b8 tile[4096];
            .shared .align 8 .b64 bar;
            ld.param.u64 %rd1, [data];
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %ctaid.x;
            setp.eq.u32 %p1, %r1, 0;
            @%p1 mbarrier.init.shared.b64 [bar], 1;
            mul.wide.u32 %rd2, %r2, 4096;
            add.u64 %rd2, %rd1, %rd2;
            mul.wide.u32 %rd3, %r1, 4;
            add.u64 %rd3, %rd2, %rd3;
            st.global.u32 [%rd3], %r1;
            st.global.u32 [%rd3+1024], %r1;
            st.global.u32 [%rd3+2048], %r1;
            st.global.u32 [%rd3+3072], %r1;
            fence.proxy.async;
            bar.sync 0;
            @!%p1 ret;
            mbarrier.arrive.expect_tx.shared.b64 _, [bar], 4096;
            cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd2], 4096, [bar];
        WAIT:
            mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0;
            @!%p2 bra WAIT;
            ret;
        }";
    let mut machine = Machine::new(1 << 24);
    let loaded = compile(text).unwrap_or_else(|e| panic!("{e}"));
    let loaded = machine.load(&loaded).expect("fits");
    let bytes = 64 << 12;
    let data = machine.allocate(bytes, "data").expect("fits");
    let args = [Arg::Pointer(data)];
    let launch = Launch {
        grid: [64, 1, 1],
        block: [256, 1, 1],
        ..Launch::new("kernel", &args)
    };
    let report = machine.launch(&loaded, &launch, &Options::default());
    let report = report.unwrap_or_else(|e| panic!("{e}"));
    assert!(report.findings.is_empty(), "{}", report.findings[0]);
    let kept = report.record_bytes as f64 / bytes as f64;
    assert!(kept >= 3.0, "{kept} bytes a byte are not all records");
    assert!(kept <= 4.0, "{kept} bytes a byte");
}
