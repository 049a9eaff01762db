//! The outer process: dies with the grader, and makes the namespaces that its child is born into.

use super::control::{Record, write_record};
use super::{Layer, Policy, WORD, encode};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stdin, dup2_stdout, getegid, geteuid};
use std::fs;
use std::process::{Command, ExitCode};

pub(super) fn run(mut policy: Policy) -> ExitCode {
    let layers = &mut policy.layers;
    layers.push(Layer::of(
        "dies with the grader",
        prctl::set_pdeathsig(Signal::SIGKILL),
    ));
    // Without a PID namespace, what the program leaves behind comes to us, where it is found.
    let _ = prctl::set_child_subreaper(true);
    let (user, group) = (geteuid(), getegid());
    layers.push(Layer::of(
        "user namespace",
        user_namespace(user.as_raw(), group.as_raw()),
    ));
    for (name, flag) in [
        ("PID namespace", CloneFlags::CLONE_NEWPID),
        ("mount namespace", CloneFlags::CLONE_NEWNS),
        ("network namespace", CloneFlags::CLONE_NEWNET),
        ("IPC namespace", CloneFlags::CLONE_NEWIPC),
        ("UTS namespace", CloneFlags::CLONE_NEWUTS),
    ] {
        layers.push(Layer::of(name, unshare(flag)));
    }
    let child = encode(&policy)
        .map_err(|error| error.to_string())
        .and_then(|policy| {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(own);
            command.args([WORD, "init", &policy]);
            command.spawn().map_err(|error| error.to_string())
        });
    // Held by us they would never be seen to close.
    if let Ok(null) = fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
    let waited = child.and_then(|mut child| child.wait().map_err(|error| error.to_string()));
    match waited {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code as u8)),
        Err(why) => {
            let _ = write_record(&mut std::io::stderr(), &Record::NotStarted(why));
            ExitCode::FAILURE
        }
    }
}

/// A user namespace in which we are root, and outside of which we are who we were.
fn user_namespace(user: u32, group: u32) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| error.to_string())?;
    let write = |file: &str, text: String| {
        fs::write(file, text).map_err(|error| format!("{file}: {error}"))
    };
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}
