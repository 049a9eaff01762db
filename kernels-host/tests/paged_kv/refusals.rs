//! What does not fit is refused, and nothing is launched.

use half::f16;
use kernels_host::attention::Sequences;
use kernels_host::paged_kv::{
    BlockTable, Format, Options, Outputs, PageShape, Pages, Queries, Rope, RopePairs, RopeTable,
    Rung, Slots, Store, append, paged_attention_by,
};
use kernels_host::{Buffer, Device, Recorder, Result};
use std::sync::Arc;

const SHAPE: PageShape = PageShape {
    pages: 4,
    page: 8,
    heads: 2,
    head_size: 64,
};

/// One decode call of two sequences, with one thing changed.
#[derive(Clone)]
struct Call {
    q: usize,
    o: usize,
    lse: usize,
    heads: usize,
    starts: Option<Vec<i32>>,
    sinks: Option<usize>,
    options: Options,
    rung: Rung,
    table_page: usize,
}

impl Call {
    fn new() -> Call {
        Call {
            q: 2 * 4 * 64,
            o: 2 * 4 * 64,
            lse: 2 * 4,
            heads: 4,
            starts: None,
            sinks: None,
            options: Options::new(0.125),
            rung: Rung::Tensor { splits: 2 },
            table_page: 8,
        }
    }

    fn run(&self, device: &Arc<dyn Device>) -> Result<()> {
        let pages = Pages::uninit(device, SHAPE, Format::Bf16)?;
        let made_for = PageShape {
            page: self.table_page,
            ..SHAPE
        };
        let table = BlockTable::new(device, &made_for, &[1, 2, 3, -1], &[9, 3])?;
        let q = Buffer::from_slice(device, &vec![f16::ONE; self.q])?;
        let mut o = Buffer::uninit(device, self.o)?;
        let mut lse = Buffer::uninit(device, self.lse)?;
        let starts = self.starts.as_ref();
        let starts = starts
            .map(|starts| Sequences::new(device, starts))
            .transpose()?;
        let sinks = self
            .sinks
            .map(|n| Buffer::from_slice(device, &vec![0.0_f32; n]));
        let sinks = sinks.transpose()?;
        let queries = Queries {
            q: &q,
            heads: self.heads,
            starts: starts.as_ref(),
            sink_logits: sinks.as_ref(),
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        paged_attention_by(self.rung, &queries, &pages, &table, &self.options, outputs)
    }
}

#[test]
fn calls_that_do_not_fit_launch_nothing() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let options = Options::new(0.125);
    let call = Call::new();
    let wrong = [
        (
            "q",
            Call {
                q: 2 * 4 * 64 - 1,
                ..call.clone()
            },
        ),
        (
            "o",
            Call {
                o: 64,
                ..call.clone()
            },
        ),
        (
            "lse",
            Call {
                lse: 9,
                ..call.clone()
            },
        ),
        (
            "heads",
            Call {
                heads: 3,
                ..call.clone()
            },
        ),
        (
            "heads",
            Call {
                heads: 0,
                ..call.clone()
            },
        ),
        (
            "starts",
            Call {
                starts: Some(vec![0, 2]),
                ..call.clone()
            },
        ),
        (
            "q",
            Call {
                starts: Some(vec![0, 1, 3]),
                ..call.clone()
            },
        ),
        (
            "sink_logits",
            Call {
                sinks: Some(2),
                ..call.clone()
            },
        ),
        (
            "scale",
            Call {
                options: Options::new(f32::NAN),
                ..call.clone()
            },
        ),
        (
            "softcap",
            Call {
                options: Options {
                    softcap: Some(0.0),
                    ..options
                },
                ..call.clone()
            },
        ),
        (
            "softcap",
            Call {
                options: Options {
                    softcap: Some(f32::NAN),
                    ..options
                },
                ..call.clone()
            },
        ),
        (
            "splits",
            Call {
                rung: Rung::Tensor { splits: 0 },
                ..call.clone()
            },
        ),
        (
            "splits",
            Call {
                rung: Rung::Tensor { splits: 129 },
                ..call.clone()
            },
        ),
        (
            "block_table",
            Call {
                table_page: 16,
                ..call.clone()
            },
        ),
    ];
    for (about, call) in wrong {
        let error = call.run(&device).expect_err(about).to_string();
        assert!(error.starts_with(&format!("`{about}`")), "{about}: {error}");
        assert!(recorder.launches().is_empty(), "{about}");
    }
    // Near misses: the call itself, and sinks for each head.
    call.run(&device).unwrap();
    assert_eq!(
        recorder.launches(),
        ["paged_attention_bf16_64", "paged_merge"]
    );
    Call {
        sinks: Some(4),
        ..call
    }
    .run(&device)
    .unwrap();
}

#[test]
fn rungs_that_do_not_take_a_type_are_refused() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let pages = Pages::uninit(&device, SHAPE, Format::F16).unwrap();
    let table = BlockTable::new(&device, &SHAPE, &[0], &[1]).unwrap();
    let q = Buffer::from_slice(&device, &[0.0_f32; 2 * 64]).unwrap();
    let mut o = Buffer::uninit(&device, 2 * 64).unwrap();
    let mut lse = Buffer::uninit(&device, 2).unwrap();
    let queries = Queries {
        q: &q,
        heads: 2,
        starts: None,
        sink_logits: None,
    };
    let mut run = |rung| {
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        paged_attention_by(rung, &queries, &pages, &table, &Options::new(1.0), outputs)
    };
    assert!(run(Rung::Tensor { splits: 1 }).is_err());
    assert!(recorder.launches().is_empty());
    run(Rung::Plain).unwrap();
    assert_eq!(recorder.launches(), ["paged_attention_plain_f16"]);
}

/// Tables, lengths and slots that point outside are caught on the host.
#[test]
fn tables_and_slots_that_point_outside_are_refused() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let table = |table: &[i32], lengths: &[i32]| {
        let made = BlockTable::new(&device, &SHAPE, table, lengths);
        made.map_err(|error| error.to_string())
    };
    for (entries, lengths, about) in [
        (&[0, 4][..], &[9][..], "`block_table`[1]"),
        (&[0, -1], &[9], "`block_table`[1]"),
        (&[0, 1], &[17], "`seq_len`[0]"),
        (&[0, 1], &[-1], "`seq_len`[0]"),
        (&[0, 1, 2], &[1, 1], "`block_table` is"),
        (&[], &[], "`block_table` is"),
    ] {
        let error = table(entries, lengths).expect_err(about);
        assert!(error.starts_with(about), "{error}");
    }
    // Padding may be anything.
    table(&[0, 99], &[8]).unwrap();
    table(&[0, 3], &[9]).unwrap();
    let slots = |slots: &[usize]| Slots::new(&device, &SHAPE, slots).map_err(|e| e.to_string());
    assert!(slots(&[32]).expect_err("outside").starts_with("`slots`[0]"));
    assert!(slots(&[3, 3]).expect_err("twice").starts_with("`slots`[1]"));
    slots(&[31, 3]).unwrap();
    assert!(recorder.launches().is_empty());
}

#[test]
fn appends_that_do_not_fit_launch_nothing() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let mut pages = Pages::uninit(&device, SHAPE, Format::Int8).unwrap();
    let buffer = |n: usize| Buffer::from_slice(&device, &vec![0.0_f32; n]).unwrap();
    let (right, short) = (buffer(2 * 2 * 64), buffer(64));
    let slots = Slots::new(&device, &SHAPE, &[1, 2]).unwrap();
    assert!(append(&mut pages, &short, &right, &slots, None).is_err());
    assert!(append(&mut pages, &right, &short, &slots, None).is_err());
    let more = PageShape {
        pages: 100,
        ..SHAPE
    };
    let outside = Slots::new(&device, &more, &[1, 32]).unwrap();
    assert!(append(&mut pages, &right, &right, &outside, None).is_err());
    let table = RopeTable::of_base(&device, 1e4, 64, 10, RopePairs::Half).unwrap();
    let other = RopeTable::of_base(&device, 1e4, 32, 10, RopePairs::Half).unwrap();
    for (table, positions) in [(&table, &[0, 10][..]), (&table, &[0]), (&other, &[0, 1])] {
        let rope = Some(Rope { table, positions });
        assert!(append(&mut pages, &right, &right, &slots, rope).is_err());
    }
    assert!(recorder.launches().is_empty());
    let rope = Some(Rope {
        table: &table,
        positions: &[0, 9],
    });
    append(&mut pages, &right, &right, &slots, rope).unwrap();
    assert_eq!(recorder.launches(), ["paged_append_int8"]);
}

#[test]
fn pages_of_impossible_sizes_are_refused() {
    let device: Arc<dyn Device> = Recorder::new();
    for shape in [
        PageShape { page: 0, ..SHAPE },
        PageShape { page: 257, ..SHAPE },
        PageShape { heads: 0, ..SHAPE },
        PageShape {
            head_size: 257,
            ..SHAPE
        },
        PageShape { pages: 0, ..SHAPE },
        PageShape {
            pages: 1 << 29,
            ..SHAPE
        },
    ] {
        assert!(
            Pages::uninit(&device, shape, Format::Int4).is_err(),
            "{shape:?}"
        );
    }
    let half = |n: usize| Store::F16(Buffer::uninit(&device, n).unwrap());
    let n = 4 * 8 * 2 * 64;
    assert!(Pages::new(SHAPE, half(n), half(n - 64)).is_err());
    let bf16 = Store::Bf16(Buffer::uninit(&device, n).unwrap());
    assert!(Pages::new(SHAPE, half(n), bf16).is_err());
    Pages::new(SHAPE, half(n), half(n)).unwrap();
}
