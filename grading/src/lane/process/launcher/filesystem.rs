//! What the program sees of the file system: all of it to read, its own empty directory to write.
//!
//! Landlock forbids writing whatever the mounts say; the mounts hide what Landlock cannot (its rules
//! only add), bound the directory's size, and give a `/proc` without other processes. Either
//! protects by itself should the kernel refuse the other.

use super::{Layer, Policy};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::{Path, PathBuf};

const NOTHING: Option<&str> = None;

/// Devices that programs expect to be able to write.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];

pub(super) fn mounts(policy: &Policy, layers: &mut Vec<Layer>) {
    let private = mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    );
    if private.is_err() {
        // In the mount namespace of the machine nothing may be mounted.
        let without = "there is no mount namespace of its own";
        for name in ["private /proc", "private directory", "read-only mounts"] {
            layers.push(Layer::refused(name, without));
        }
        return;
    }
    let careful = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    layers.push(Layer::of(
        "private /proc",
        mount(
            Some("proc"),
            "/proc",
            Some("proc"),
            careful | MsFlags::MS_NOEXEC,
            NOTHING,
        ),
    ));
    let size = format!("size={},nr_inodes=65536,mode=0700", policy.limits.disk());
    layers.push(Layer::of(
        "private directory",
        mount(
            Some("tmpfs"),
            &policy.directory,
            Some("tmpfs"),
            careful,
            Some(size.as_str()),
        ),
    ));
    for hidden in &policy.hidden {
        let empty = mount(
            Some("tmpfs"),
            hidden,
            Some("tmpfs"),
            careful | MsFlags::MS_RDONLY,
            Some("size=4096,mode=0555"),
        );
        layers.push(Layer::of("hidden folders", empty));
    }
    layers.push(Layer::of("read-only mounts", read_only(&policy.directory)));
    // A process number for each process: fewer numbers than this the kernel does not allow.
    // Older kernels have one setting for the whole machine and refuse; limits on processes then
    // rest on RLIMIT_NPROC and on the grader, which counts them.
    let most = (policy.limits.processes + 310).to_string();
    let _ = fs::write("/proc/sys/kernel/pid_max", most);
}

/// Makes every mount read-only but the program's directory.
fn read_only(directory: &Path) -> Result<(), String> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(at), Some(options)) = (fields.next(), fields.next()) else {
            continue;
        };
        let at = unescape(at);
        let options: Vec<&str> = options.split(',').collect();
        if at == directory || options.contains(&"ro") {
            continue;
        }
        // Flags of a mount from outside are locked: left out, the kernel refuses.
        let kept = [
            ("nosuid", MsFlags::MS_NOSUID),
            ("nodev", MsFlags::MS_NODEV),
            ("noexec", MsFlags::MS_NOEXEC),
            ("noatime", MsFlags::MS_NOATIME),
            ("nodiratime", MsFlags::MS_NODIRATIME),
            ("relatime", MsFlags::MS_RELATIME),
        ];
        let flags = kept
            .into_iter()
            .filter(|(name, _)| options.contains(name))
            .fold(
                MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
                |flags, (_, flag)| flags | flag,
            );
        // Mounts below a hidden folder cannot be reached, and are not there to remount.
        if at.exists() {
            mount(NOTHING, &at, NOTHING, flags, NOTHING)
                .map_err(|error| format!("{}: {error}", at.display()))?;
        }
    }
    Ok(())
}

/// A mount point as the table writes it: blanks and backslashes as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let mut out = text.to_owned();
    for (code, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, plain);
    }
    PathBuf::from(out)
}

/// Reads and executes everything, writes only its directory, no TCP, no signals to others.
pub(super) fn landlock(directory: &Path) -> Layer {
    const NAME: &str = "Landlock";
    let abi = ABI::V6;
    let restricted = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(["/"], AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules([directory], AccessFs::from_all(abi)))?
            .add_rules(path_beneath_rules(
                DEVICES,
                AccessFs::WriteFile | AccessFs::ReadFile,
            ))?
            .restrict_self()
    };
    match restricted() {
        Err(error) => Layer::refused(NAME, error),
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced => Layer::enforced(NAME),
            RulesetStatus::PartiallyEnforced => Layer::refused(
                NAME,
                "this kernel has only a part of it; the part is enforced",
            ),
            RulesetStatus::NotEnforced => Layer::refused(NAME, "this kernel does not have it"),
        },
    }
}
