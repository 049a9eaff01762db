//! What the checkers keep of device memory: at most four bytes a byte, however it is touched.

use simt::{Arg, Launch, Machine, Options, compile};

/// Every thread reads and writes one element of a square of 512 × 512: along rows or down columns.
/// Where there are bulk copies, the proxies are recorded too; the one here no thread executes.
fn kept(access: &str, width: u32, columns: bool, bulk: bool) -> f64 {
    let place = if columns {
        "and.b32 %r5, %r4, 511; shl.b32 %r5, %r5, 9; shr.u32 %r6, %r4, 9; add.u32 %r4, %r5, %r6;"
    } else {
        ""
    };
    let copy = if bulk {
        "setp.eq.u32 %p1, %r4, 0xffffffff;
         @%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd3], [%r1], 16;"
    } else {
        ""
    };
    let text = format!(
        ".version 8.0
        .target sm_90
        .address_size 64
        .visible .entry kernel(.param .u64 data) {{
            .reg .pred %p<2>; .reg .b32 %r<16>; .reg .b64 %rd<8>;
            ld.param.u64 %rd1, [data];
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %ctaid.x;
            mad.lo.u32 %r4, %r2, 256, %r1;
            {place}
            mul.wide.u32 %rd2, %r4, {width};
            add.u64 %rd3, %rd1, %rd2;
            ld.global.{access} %r7, [%rd3];
            st.global.{access} [%rd3], %r7;
            {copy}
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
    let mut less = f64::INFINITY;
    for (access, width) in [("u32", 4), ("u16", 2), ("u8", 1)] {
        for columns in [false, true] {
            let [alone, both] = [false, true].map(|bulk| kept(access, width, columns, bulk));
            let here = format!(".{access}, columns: {columns}");
            // Both sides of every word were touched, and a word has four bytes a side.
            assert!(
                alone >= 2.0,
                "{alone} bytes a byte are not all records, {here}"
            );
            assert!(alone <= 4.0, "{alone} bytes a byte, {here}");
            // Every word was written by an ordinary instruction.
            assert!(
                both >= 3.0,
                "{both} bytes a byte are not all records, {here}"
            );
            assert!(both <= 4.0, "{both} bytes a byte with bulk copies, {here}");
            less = less.min(both - alone);
        }
    }
    assert!(less < 1.0, "{less}: no room was made for the proxies");
}
