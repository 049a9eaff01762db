//! A program that runs: its pipes, its limits, its end.

use super::launcher::{Ended, Launcher, Policy, Record, read_record};
use super::message::{RawAnswer, ReadError, read_answer};
use super::sandbox::Layer;
use super::tree::{Usage, usage};
use crate::lane::limits::Limits;
use crate::submission::Failure;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often limits are looked at.
const TICK: Duration = Duration::from_millis(10);

/// How long the end of a program may lag behind the end of its pipe.
const GRACE: Duration = Duration::from_secs(2);

/// A longer body is no body but a misread length.
const ABSURD: u64 = 1 << 40;

/// Bytes of the log that are kept: its end.
const LOG: usize = 16 << 10;

/// Processes of the launcher's own between us and the program.
const LAUNCHER_GENERATIONS: u32 = 2;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Running {
    command: Vec<String>,
    limits: Limits,
    requests: Arc<PipeWriter>,
    answers: Arc<PipeReader>,
    seen: Arc<Mutex<Seen>>,
    stop: mpsc::Sender<()>,
    supervisor: Option<JoinHandle<()>>,
    calls: u64,
    _directory: TempDir,
}

/// What is known of a program from outside.
#[derive(Debug, Default)]
struct Seen {
    layers: Vec<Layer>,
    log: VecDeque<u8>,
    full: bool,
    ended: Option<Ended>,
    not_started: Option<String>,
    /// The launcher is gone, and all below it.
    gone: bool,
    /// Why it was killed by us.
    killed: Option<Failure>,
    usage: Usage,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Starts a program in its sandbox.
    pub(super) fn start(
        launcher: &Launcher,
        command: &[String],
        limits: Limits,
        hidden: &[PathBuf],
        require: bool,
    ) -> Result<Running, Failure> {
        let ours = |error: io::Error| Failure::Grader(error.to_string());
        let directory = tempfile::Builder::new()
            .prefix("touchstone-")
            .tempdir()
            .map_err(ours)?;
        // The kernel knows the directory by its own name, not by a link to it.
        let policy = Policy {
            command: command.to_vec(),
            directory: directory.path().canonicalize().map_err(ours)?,
            hidden: hidden.to_vec(),
            limits,
            require,
            layers: Vec::new(),
        };
        let (their_requests, requests) = io::pipe().map_err(ours)?;
        let (answers, their_answers) = io::pipe().map_err(ours)?;
        let (control, their_control) = io::pipe().map_err(ours)?;
        let mut start = launcher
            .command(&policy)
            .map_err(|error| Failure::Grader(error.to_string()))?;
        start
            .stdin(their_requests)
            .stdout(their_answers)
            .stderr(their_control)
            .process_group(0);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        // The launcher dies when the thread that started it does, so that thread stays with it.
        let supervisor = std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let child = start.spawn();
                // It holds the far ends of the pipes.
                drop(start);
                match child {
                    Err(error) => drop(started.send(Err(error))),
                    Ok(child) => {
                        let _ = started.send(Ok(()));
                        listen(control, Arc::clone(&seen));
                        supervise(child, &limits, &stopped, &seen);
                    }
                }
            }
        });
        match is_started.recv() {
            Ok(Ok(())) => Ok(Running {
                command: command.to_vec(),
                limits,
                requests: Arc::new(requests),
                answers: Arc::new(answers),
                seen,
                stop,
                supervisor: Some(supervisor),
                calls: 0,
                _directory: directory,
            }),
            Ok(Err(error)) => Err(Failure::Grader(format!("the launcher: {error}"))),
            Err(_) => Err(Failure::Grader("the launcher's thread ended".into())),
        }
    }

    /// The program and its arguments.
    pub(super) fn command(&self) -> &[String] {
        &self.command
    }

    /// What confines it, once it has been heard of.
    pub(super) fn layers(&self) -> Vec<Layer> {
        lock(&self.seen).layers.clone()
    }

    /// The end of what it wrote to its standard output and error.
    pub(super) fn log(&self) -> String {
        let seen = lock(&self.seen);
        let bytes: Vec<u8> = seen.log.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a request and waits for the answer, whose body has at most `most_body` bytes.
    pub(super) fn exchange(
        &mut self,
        request: Vec<u8>,
        most_body: u64,
    ) -> Result<(RawAnswer, Duration), Failure> {
        self.nothing_came_early()?;
        let started = Instant::now();
        let cpu_before = lock(&self.seen).usage.cpu_ms;
        let requests = Arc::clone(&self.requests);
        std::thread::spawn(move || {
            // A program that does not read is seen by its missing answer.
            let _ = (&*requests).write_all(&request);
        });
        let (send, answer) = mpsc::channel();
        let answers = Arc::clone(&self.answers);
        std::thread::spawn(move || {
            let _ = send.send(read_answer(&mut &*answers, most_body));
        });
        let mut patience = self.limits.wall();
        if self.calls == 0 {
            patience += Duration::from_secs(self.limits.start_seconds);
        }
        self.calls += 1;
        let cpu = self.limits.cpu_seconds.saturating_mul(1000);
        loop {
            match answer.recv_timeout(TICK) {
                Ok(Ok(raw)) => return Ok((raw, started.elapsed())),
                Ok(Err(error)) => return Err(self.no_answer(&error)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Grader("the reader's thread ended".into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let seen = lock(&self.seen);
            if let Some(killed) = &seen.killed {
                return Err(killed.clone());
            }
            let used = seen.usage.cpu_ms.saturating_sub(cpu_before);
            drop(seen);
            let late = if started.elapsed() > patience {
                format!("no answer after {} seconds", patience.as_secs())
            } else if used > cpu {
                format!("{used} ms of processor time, {cpu} allowed")
            } else {
                continue;
            };
            let _ = self.stop.send(());
            return Err(Failure::Timeout(self.with_log(late)));
        }
    }

    /// An answer before its question was not made from the question.
    fn nothing_came_early(&self) -> Result<(), Failure> {
        let mut poll_fd = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
        if poll(&mut poll_fd, PollTimeout::ZERO).unwrap_or(0) == 0 {
            return Ok(());
        }
        let events = poll_fd[0].revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLIN) {
            let why = "it wrote to the answer pipe before it was asked";
            return Err(Failure::Cheat(why.into()));
        }
        Err(self.no_answer(&ReadError::Closed { after: 0 }))
    }

    /// The kind of failure that a missing answer is.
    fn no_answer(&self, error: &ReadError) -> Failure {
        let after = match error {
            ReadError::TooLong { bytes, .. } if *bytes > ABSURD => {
                return Failure::Malformed(self.with_log(format!(
                    "an answer that begins with a body of {bytes} bytes; lengths are two \
                     little-endian 64-bit numbers, header first"
                )));
            }
            ReadError::TooLong { bytes, most } => {
                return Failure::Limit(format!(
                    "an answer of {bytes} bytes; the outputs and a margin are {most}"
                ));
            }
            ReadError::Header { bytes } => {
                return Failure::Malformed(self.with_log(format!(
                    "an answer that begins with a header of {bytes} bytes; lengths are two \
                     little-endian 64-bit numbers, header first"
                )));
            }
            ReadError::Closed { after } => *after,
        };
        let deadline = Instant::now() + GRACE;
        while !lock(&self.seen).gone && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let seen = lock(&self.seen);
        if let Some(killed) = &seen.killed {
            return killed.clone();
        }
        if let Some(why) = &seen.not_started {
            return Failure::Crash(why.clone());
        }
        let (gone, full, ended) = (seen.gone, seen.full, seen.ended);
        drop(seen);
        if !gone {
            let why = format!("it closed its answer pipe after {after} bytes and ran on");
            return Failure::Malformed(self.with_log(why));
        }
        let Some(ended) = ended else {
            let why = "the launcher ended without a word".to_owned();
            return Failure::Grader(self.with_log(why));
        };
        let how = match ended {
            Ended::Code(code) => format!("it exited with code {code}"),
            Ended::Signal(signal) => match Signal::try_from(signal) {
                Ok(name) => format!("it was ended by {name}"),
                Err(_) => format!("it was ended by signal {signal}"),
            },
        };
        let forbidden = Ended::Signal(libc::SIGSYS);
        if ended == forbidden {
            return Failure::Cheat(
                self.with_log(
                    "it was stopped at a forbidden system call: the network, another process's \
                 memory, or a signal to the launcher"
                        .to_owned(),
                ),
            );
        }
        if full {
            let why = format!("its working directory is full, and {how}");
            return Failure::Limit(self.with_log(why));
        }
        match ended {
            Ended::Signal(libc::SIGXFSZ) => Failure::Limit(self.with_log(format!("{how}: a file"))),
            _ if after > 0 => {
                Failure::Malformed(self.with_log(format!("{after} bytes of an answer, then {how}")))
            }
            Ended::Code(0) => Failure::Cheat(
                self.with_log("it exited with code 0 while an answer was owed".to_owned()),
            ),
            _ => Failure::Crash(self.with_log(how)),
        }
    }

    fn with_log(&self, text: String) -> String {
        let log = self.log();
        let last: Vec<&str> = log.lines().rev().take(12).collect();
        if last.is_empty() {
            return text;
        }
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{text}; the end of its log:\n{}", last.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

/// Notes what the launcher says, until it has no more to say.
fn listen(mut control: PipeReader, seen: Arc<Mutex<Seen>>) {
    std::thread::spawn(move || {
        while let Ok(Some(record)) = read_record(&mut control) {
            let mut seen = lock(&seen);
            match record {
                Record::Layers(layers) => seen.layers = layers,
                Record::Log(bytes) => {
                    seen.log.extend(bytes);
                    let excess = seen.log.len().saturating_sub(LOG);
                    seen.log.drain(..excess);
                }
                Record::DirectoryFull => seen.full = true,
                Record::Ended(ended) => seen.ended = Some(ended),
                Record::NotStarted(why) => seen.not_started = Some(why),
            }
        }
        // Its end of the pipe is closed: it is gone, or about to be.
        lock(&seen).gone = true;
    });
}

/// Stays with the launcher to its end; kills it, and with it all below, when a limit is passed or
/// we are told to.
fn supervise(mut child: Child, limits: &Limits, stopped: &mpsc::Receiver<()>, seen: &Mutex<Seen>) {
    loop {
        if !matches!(stopped.recv_timeout(TICK), Err(RecvTimeoutError::Timeout)) {
            break;
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let used = usage(child.id(), LAUNCHER_GENERATIONS, limits.processes);
        let mut seen = lock(seen);
        seen.usage = used;
        let passed = if used.tasks > limits.processes {
            format!("more than {} processes and threads", limits.processes)
        } else if used.memory > limits.memory() {
            format!(
                "{} MiB of memory, {} allowed",
                used.memory >> 20,
                limits.memory_mib
            )
        } else {
            continue;
        };
        seen.killed = Some(Failure::Limit(passed));
        break;
    }
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let _ = child.wait();
}
