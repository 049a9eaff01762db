//! What a program and its descendants use, as `/proc` says.

use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// What was used, of all processes below one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processes and threads.
    pub(super) tasks: u64,
    /// Bytes of memory of their own.
    pub(super) memory: u64,
    /// Milliseconds of processor cores, of those that live and of those that were waited for.
    pub(super) cpu_ms: u64,
}

/// Looks at the descendants of a process, `generations` of which are ours and do not count.
pub(super) fn usage(root: u32, generations: u32, most_tasks: u64) -> Usage {
    let mut sum = Usage::default();
    let mut next = vec![(root, generations)];
    while let Some((pid, ours)) = next.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        let tasks: Vec<String> = tasks
            .filter_map(|task| task.ok()?.file_name().into_string().ok())
            .collect();
        for task in &tasks {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children"));
            let children = children.unwrap_or_default();
            let children = children.split_whitespace().filter_map(|c| c.parse().ok());
            next.extend(children.map(|child| (child, ours.saturating_sub(1))));
        }
        if ours == 0 {
            sum.tasks += tasks.len() as u64;
            sum.memory += memory(pid).unwrap_or(0);
            sum.cpu_ms += cpu_ms(pid).unwrap_or(0);
        }
        // Enough to decide; a program that forks without end is not followed to its end.
        if sum.tasks > most_tasks {
            break;
        }
    }
    sum
}

/// Resident pages that are not shared with files.
fn memory(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten()?;
    Some(resident.saturating_sub(shared) * page as u64)
}

fn cpu_ms(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    // utime, stime, cutime, cstime are fields 14 to 17, and the first here is 3.
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    Some(ticks * 1000 / hertz as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_ourselves_are_seen() {
        let used = usage(std::process::id(), 0, u64::MAX);
        assert!(used.tasks >= 1, "{used:?}");
        assert!(used.memory > 1 << 16, "{used:?}");
    }

    #[test]
    fn who_is_not_there_uses_nothing() {
        assert_eq!(usage(u32::MAX, 0, u64::MAX), Usage::default());
    }

    #[test]
    fn generations_that_are_ours_do_not_count() {
        let used = usage(std::process::id(), 1, u64::MAX);
        assert!(used.tasks < usage(std::process::id(), 0, u64::MAX).tasks);
    }
}
