//! A barrier of a cluster of one block, with every checker on.

use simt::{Launch, Machine, Options, compile};

#[test]
fn a_cluster_of_one_block_meets() {
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n\
                .entry k() { barrier.cluster.arrive; barrier.cluster.wait; ret; }";
    let mut machine = Machine::new(1 << 20);
    let loaded = machine
        .load(&compile(text).expect("is valid"))
        .expect("fits");
    let launch = Launch {
        block: [96, 1, 1],
        ..Launch::new("k", &[])
    };
    machine
        .launch(&loaded, &launch, &Options::default())
        .expect("all arrive");
}
