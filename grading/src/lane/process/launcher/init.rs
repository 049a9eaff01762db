//! The first process of the namespaces: confines itself, starts the program, says how it ended.

use super::control::{Ended, Record, write_record};
use super::{Layer, Policy, filesystem, seccomp};
use caps::CapSet;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, close, dup2_stdin, dup2_stdout};
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, RawFd};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

/// The program's descriptors for requests and answers, also told by variables.
const REQUESTS: RawFd = 3;
const ANSWERS: RawFd = 4;

/// Address space beyond memory: what runtimes reserve and never touch.
const RESERVED: u64 = 8 << 30;

/// How long the log is waited for after the program's end, should something else hold it open.
const LOG_PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn run(mut policy: Policy) -> ExitCode {
    let control = match descriptors() {
        Ok(control) => control,
        Err(_) => return ExitCode::FAILURE,
    };
    let result = confined(&mut policy, &control);
    if let Err(why) = result {
        let _ = write_record(&mut &control, &Record::NotStarted(why));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Closes what we were given beyond the three pipes, puts requests and answers where the program
/// expects them, and returns the control pipe, which it does not get.
fn descriptors() -> io::Result<File> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The listing's own descriptor is among them, and closed already.
        let _ = close(fd);
    }
    let requests = fcntl(io::stdin(), FcntlArg::F_DUPFD(REQUESTS))?;
    let answers = fcntl(io::stdout(), FcntlArg::F_DUPFD(ANSWERS))?;
    if (requests, answers) != (REQUESTS, ANSWERS) {
        return Err(io::Error::other("descriptors 3 and 4 are taken"));
    }
    let control = io::stderr().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(File::from(control))
}

fn confined(policy: &mut Policy, control: &File) -> Result<(), String> {
    let mut layers = std::mem::take(&mut policy.layers);
    layers.push(Layer::of(
        "dies with its launcher",
        prctl::set_pdeathsig(Signal::SIGKILL),
    ));
    // Our memory is not the program's to read, even where it could see us.
    layers.push(Layer::of(
        "launcher's memory closed",
        prctl::set_dumpable(false),
    ));
    filesystem::mounts(policy, &mut layers);
    std::env::set_current_dir(&policy.directory).map_err(|error| error.to_string())?;
    layers.push(Layer::of("resource limits", resources(policy)));
    layers.push(Layer::of("no capabilities", capabilities()));
    layers.push(Layer::of("no new privileges", prctl::set_no_new_privs()));
    layers.push(filesystem::landlock(&policy.directory));
    layers.push(Layer::of("system calls", seccomp::forbid()));
    let refused = layers.iter().any(|layer| layer.refused.is_some());
    let written = write_record(&mut { control }, &Record::Layers(layers));
    written.map_err(|error| error.to_string())?;
    if policy.require && refused {
        return Err("a layer of the sandbox was refused, and all are required".into());
    }
    match &policy.command[..] {
        [] => Ok(()),
        [program, arguments @ ..] => program_in(policy, program, arguments, control),
    }
}

fn resources(policy: &Policy) -> Result<(), String> {
    let limits = &policy.limits;
    for (resource, most) in [
        (
            Resource::RLIMIT_AS,
            limits.memory().saturating_add(RESERVED),
        ),
        (Resource::RLIMIT_NPROC, limits.processes),
        (Resource::RLIMIT_NOFILE, limits.files),
        (Resource::RLIMIT_FSIZE, limits.disk()),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_MEMLOCK, 1 << 16),
    ] {
        setrlimit(resource, most, most).map_err(|error| format!("{resource:?}: {error}"))?;
    }
    Ok(())
}

/// Root of its own user namespace has every capability over it; the program has none.
fn capabilities() -> Result<(), caps::errors::CapsError> {
    caps::clear(None, CapSet::Bounding)?;
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Permitted)
}

fn program_in(
    policy: &Policy,
    program: &str,
    arguments: &[String],
    control: &File,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let (log, out) = io::pipe().map_err(text)?;
    let err = out.try_clone().map_err(text)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    // Where programs and libraries are found is the machine's business, not a secret.
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", &policy.directory)
        .env("TMPDIR", &policy.directory)
        .env("LANG", "C.UTF-8")
        .env("TOUCHSTONE_REQUEST_FD", REQUESTS.to_string())
        .env("TOUCHSTONE_ANSWER_FD", ANSWERS.to_string())
        .stdin(std::process::Stdio::null())
        .stdout(out)
        .stderr(err);
    let child = command.spawn();
    // Ours closed, the pipes close when the program closes them.
    let _ = close(REQUESTS);
    let _ = close(ANSWERS);
    drop(command);
    let child = child.map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let forwarded = forward(log, control.try_clone().map_err(text)?);
    let ended = reap(Pid::from_raw(child.id() as i32))?;
    let _ = forwarded.recv_timeout(LOG_PATIENCE);
    if statvfs(".").is_ok_and(|directory| directory.blocks_available() == 0) {
        write_record(&mut { control }, &Record::DirectoryFull).map_err(text)?;
    }
    write_record(&mut { control }, &Record::Ended(ended)).map_err(text)
}

/// Sends what the program logs to the grader; the receiver hears when that ends.
fn forward(mut log: PipeReader, mut control: File) -> mpsc::Receiver<()> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = vec![0; 4096];
        while let Ok(length @ 1..) = log.read(&mut piece) {
            if write_record(&mut control, &Record::Log(piece[..length].to_vec())).is_err() {
                break;
            }
        }
        let _ = done.send(());
    });
    ended
}

/// Waits for the program, and on the way for all that it left behind, as PID 1 must.
fn reap(program: Pid) -> Result<Ended, String> {
    loop {
        match wait().map_err(|error| error.to_string())? {
            WaitStatus::Exited(pid, code) if pid == program => return Ok(Ended::Code(code)),
            WaitStatus::Signaled(pid, signal, _) if pid == program => {
                return Ok(Ended::Signal(signal as i32));
            }
            _ => {}
        }
    }
}
