//! Timing, on a device that records what it is asked: in which order, over which copies, and that a
//! device which stops working is not given a time.

use grading::profile::measure::{Plan, measure};
use grading::profile::{ProfileError, Scale, call, shape};
use grading::submission::Call;
use kernels_host::{CheckedLaunch, Device, DeviceId, Limits, Recorder, Result, Vm};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is asked of a device between two launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Write,
    Read,
    /// By the address of its first buffer.
    Launch(u64),
    /// The same, while a time was taken.
    Timed(u64),
    Wait,
}

/// The PTX machine, and a list of what was asked of it. From some launch on it does nothing, or
/// answers something else.
#[derive(Debug)]
struct Watched {
    inner: Arc<Vm>,
    asked: Mutex<Vec<Asked>>,
    timing: Mutex<bool>,
    launches: Mutex<usize>,
    works_for: usize,
}

impl Watched {
    fn new(works_for: usize) -> Arc<Watched> {
        Arc::new(Watched {
            inner: Vm::new(),
            asked: Mutex::default(),
            timing: Mutex::default(),
            launches: Mutex::default(),
            works_for,
        })
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().expect("no panic before").push(asked);
    }
}

impl Device for Watched {
    fn id(&self) -> DeviceId {
        self.inner.id()
    }
    fn name(&self) -> String {
        "a watched machine".into()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn targets(&self) -> &[&'static str] {
        self.inner.targets()
    }
    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.inner.allocate(bytes)
    }
    fn free(&self, address: u64) {
        self.inner.free(address);
    }
    fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        self.note(Asked::Write);
        self.inner.write(address, offset, bytes)
    }
    fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.note(Asked::Read);
        self.inner.read(address, offset, bytes)
    }
    fn launch(&self, launch: &CheckedLaunch<'_>) -> Result<()> {
        let first = launch.args().iter().find_map(|arg| match arg {
            kernels_host::Arg::Buffer(address, _) => Some(*address),
            _ => None,
        });
        let first = first.unwrap_or(0);
        self.note(match *self.timing.lock().expect("no panic before") {
            true => Asked::Timed(first),
            false => Asked::Launch(first),
        });
        let mut launches = self.launches.lock().expect("no panic before");
        *launches += 1;
        match *launches > self.works_for {
            true => Ok(()),
            false => self.inner.launch(launch),
        }
    }
    fn synchronize(&self) -> Result<()> {
        self.note(Asked::Wait);
        Ok(())
    }
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        *self.timing.lock().expect("no panic before") = true;
        let done = work();
        *self.timing.lock().expect("no panic before") = false;
        let timed = self.asked.lock().expect("no panic before").len() as u64;
        done.map(|()| Duration::from_micros(timed))
    }
}

/// A call of softmax + top-k, whose rung `Warp` is one launch.
fn a_call() -> Call {
    let shapes = shape::of_task("softmax-topk");
    let shape = shapes[1].resized([("R", 2), ("V", 100), ("K", 4)]);
    let device: Arc<dyn Device> = Recorder::new();
    call::of(&shape.expect("its sizes"), Scale::Vm, &device).expect("it fits")
}

const PLAN: Plan = Plan {
    warm_up: 4,
    runs: 5,
    // Three copies of the 472 bytes of the call.
    rotate: 3 * 472,
};

fn measured(works_for: usize) -> (Vec<Asked>, std::result::Result<usize, ProfileError>) {
    let watched = Watched::new(works_for);
    let device: Arc<dyn Device> = watched.clone();
    let timed = measure(&device, &a_call(), "Warp", PLAN);
    let asked = watched.asked.lock().expect("no panic before").clone();
    (asked, timed.map(|timed| timed.runs))
}

#[test]
fn warm_up_then_rounds_of_spoilt_timed_and_read_copies() {
    assert_eq!(a_call().compulsory_bytes(), 472);
    let (asked, timed) = measured(usize::MAX);
    assert_eq!(timed, Ok(5));
    let launched = |asked: &&Asked| matches!(asked, Asked::Launch(_) | Asked::Timed(_));
    let launches: Vec<Asked> = asked.iter().filter(launched).copied().collect();
    let warm: Vec<u64> = launches[..4]
        .iter()
        .map(|asked| match asked {
            Asked::Launch(address) => *address,
            other => panic!("{other:?} among the warm-up"),
        })
        .collect();
    let [a, b, c, again] = warm[..] else {
        panic!("{warm:?}");
    };
    assert!(
        a != b && b != c && c != a && again == a,
        "copies take turns"
    );
    let timed = [a, b, c, a, b].map(Asked::Timed);
    assert_eq!(launches[4..], timed, "and so do the runs that are timed");
    // Around the runs: three outputs of each copy spoilt before, read after.
    let round = |copies: usize| {
        let mut round = vec![Asked::Write; 3 * copies];
        round.push(Asked::Wait);
        round.extend_from_slice(&timed[..copies]);
        round.extend(vec![Asked::Read; 3 * copies]);
        round
    };
    let rounds = [round(3), round(2)].concat();
    assert_eq!(asked[asked.len() - rounds.len()..], rounds);
}

#[test]
fn a_device_that_stops_working_has_no_time() {
    for works_for in [0, 4, 7] {
        let (_, timed) = measured(works_for);
        let error = timed.expect_err("what was not computed was not timed");
        let said = error.to_string();
        let which = match works_for {
            0 => "is wrong, so its time says nothing",
            _ => "wrote other bits than the one that was judged",
        };
        assert!(said.contains(which), "{works_for}: {said}");
    }
}

/// A rung whose last bits differ from run to run has each timed output judged.
#[test]
fn what_does_not_repeat_its_bits_is_judged_run_by_run() {
    let shapes = shape::of_task("flash-attention-backward");
    let shape = shapes[0].resized([("Hq", 1), ("Hkv", 1), ("N", 16)]);
    let device: Arc<dyn Device> = Vm::new();
    let call = call::of(&shape.expect("its sizes"), Scale::Vm, &device).expect("it fits");
    let plan = Plan {
        warm_up: 1,
        runs: 2,
        rotate: 1,
    };
    let timed = |works_for| {
        let device: Arc<dyn Device> = Watched::new(works_for);
        measure(&device, &call, "Unordered", plan)
    };
    assert_eq!(timed(usize::MAX).expect("it works").runs, 2);
    // Four launches a run: the one that warms up is whole, the first that is timed is not.
    let said = timed(6).expect_err("half of it was not computed");
    let said = said.to_string();
    assert!(said.contains("a timed run of Unordered is wrong"), "{said}");
}

/// Everything that the benches would time on a GPU is at least launched, with the checks that come
/// before a launch.
#[test]
fn every_rung_is_launched_on_a_recorder() {
    for shape in shape::all() {
        let recorder = Recorder::new();
        let device: Arc<dyn Device> = recorder.clone();
        let call = match call::of(shape, Scale::Vm, &device) {
            Ok(call) => call,
            Err(error) => panic!("{}: {error}", shape.name),
        };
        for rung in grading::profile::ready::rungs(&call) {
            let before = recorder.launches().len();
            let ready = grading::profile::ready::ready(&call, rung, &device);
            let run = ready.and_then(|mut ready| Ok(ready.run()?));
            run.unwrap_or_else(|error| panic!("{} {rung}: {error}", shape.name));
            assert!(recorder.launches().len() > before, "{} {rung}", shape.name);
        }
    }
}
