//! Control flow and exchange between lanes give the same result under every schedule.

mod support;

use simt::{Arg, Launch, Machine, Options, Order, compile};
use support::op_test::OpTest;

/// Schedules tried for each program, besides the fast one.
const SEEDS: u64 = 6;

fn check(text: &str, options: &Options) -> Result<(), String> {
    let test = OpTest::parse(text)?;
    let validated = compile(text).map_err(|e| e.to_string())?;
    let mut machine = Machine::new(1 << 26);
    let loaded = machine.load(&validated).map_err(|e| e.to_string())?;
    let mut addresses = Vec::new();
    for buffer in &test.buffers {
        let data = buffer.contents();
        addresses.push(
            machine
                .allocate_from(&data, &buffer.name)
                .map_err(|e| e.to_string())?,
        );
    }
    let args: Vec<Arg> = addresses.iter().map(|a| Arg::Pointer(*a)).collect();
    let (grid, block, dynamic_shared) = (test.grid, test.block, test.shared);
    let launch = Launch {
        grid,
        block,
        dynamic_shared,
        ..Launch::new("test", &args)
    };
    machine
        .launch(&loaded, &launch, options)
        .map_err(|e| e.to_string())?;
    for (buffer, address) in test.buffers.iter().zip(addresses) {
        let mut got = buffer.contents();
        machine.read(address, &mut got).map_err(|e| e.to_string())?;
        buffer.compare(&got)?;
    }
    Ok(())
}

#[test]
fn the_schedule_changes_nothing() {
    let mut programs = 0;
    for family in ["ops/control", "ops/barrier", "ops/cluster", "ops/warp"] {
        let root = support::folder(family);
        if !root.is_dir() {
            continue;
        }
        for path in support::files(&root, "ptx") {
            let text = std::fs::read_to_string(&path).expect("a listed file can be read");
            // What the machine does not do is counted by `ops.rs`.
            if compile(&text).is_err() {
                continue;
            }
            programs += 1;
            let explored = (0..SEEDS).map(|seed| Options {
                seed,
                explore: true,
                ..Options::default()
            });
            let parallel = Options {
                order: Order::Parallel,
                ..Options::default()
            };
            for options in explored.chain([parallel]) {
                if let Err(error) = check(&text, &options) {
                    panic!("{} with {options:?}: {error}", path.display());
                }
            }
        }
    }
    assert!(programs > 60, "only {programs} programs");
}
