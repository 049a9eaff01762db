//! System calls that no kernel of a submission needs.
//!
//! Those that reach for the network, for another process's memory or for the launcher kill the
//! program, and are the evidence of a cheat. Those that a library may try in good faith return an
//! error.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Another process's memory: there is no honest use.
const ATTACKS: [libc::c_long; 4] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
];

/// Domains of sockets that leave the machine.
const NETWORK: [libc::c_int; 4] = [
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_PACKET,
    libc::AF_VSOCK,
];

/// What administers a machine, or gets around the other rules.
const REFUSED: [libc::c_long; 30] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_pidfd_getfd,
    libc::SYS_open_by_handle_at,
];

type Error = Box<dyn std::error::Error>;

pub(super) fn forbid() -> Result<(), Error> {
    let kill = SeccompAction::KillProcess;
    for (rules, action) in [
        (attacks()?, kill),
        (refused()?, SeccompAction::Errno(libc::EPERM as u32)),
        // Its flags cannot be looked at; told that it is not there, libraries use `clone`.
        (
            Rules::from([(libc::SYS_clone3, Vec::new())]),
            SeccompAction::Errno(libc::ENOSYS as u32),
        ),
    ] {
        let arch = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        apply_filter(&BpfProgram::try_from(filter)?)?;
    }
    Ok(())
}

fn attacks() -> Result<Rules, Error> {
    let mut rules: Rules = ATTACKS.into_iter().map(|call| (call, Vec::new())).collect();
    let domains: Result<Vec<_>, Error> = NETWORK
        .into_iter()
        .map(|domain| when(0, SeccompCmpOp::Eq, domain as u64))
        .collect();
    rules.insert(libc::SYS_socket, domains?);
    // PID 1 of the namespaces is the launcher, -1 everyone.
    for call in [libc::SYS_kill, libc::SYS_tkill] {
        let launcher = when(0, SeccompCmpOp::Eq, 1)?;
        let everyone = when(0, SeccompCmpOp::Eq, u64::from(u32::MAX))?;
        rules.insert(call, vec![launcher, everyone]);
    }
    Ok(rules)
}

fn refused() -> Result<Rules, Error> {
    let mut rules: Rules = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let other = NETWORK.into_iter().chain([libc::AF_UNIX]);
    let conditions: Result<Vec<_>, Error> = other
        .map(|domain| condition(0, SeccompCmpOp::Ne, domain as u64))
        .collect();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(conditions?)?]);
    let user = libc::CLONE_NEWUSER as u64;
    rules.insert(
        libc::SYS_clone,
        vec![when(0, SeccompCmpOp::MaskedEq(user), user)?],
    );
    Ok(rules)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    let length = SeccompCmpArgLen::Dword;
    Ok(SeccompCondition::new(argument, length, operator, value)?)
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(vec![condition(
        argument, operator, value,
    )?])?)
}
