//! The resources used by processes and by the machine, from /proc.

use std::collections::HashMap;
use std::fs;

/// Seconds of processor time (user and system) of a process and its descendants, including those
/// that have exited and were waited for.
pub(crate) fn tree_cpu(root: u32) -> f64 {
    let all = every();
    let tree = tree(root, &all);
    let ticks = tree
        .iter()
        .filter_map(|id| all.get(id))
        .map(|process| process.ticks);
    ticks.sum::<u64>() as f64 / per_second()
}

/// Seconds that the threads of a process and its descendants have run, by the scheduler's nanoseconds.
/// Threads and processes that have ended are missing.
pub(crate) fn tree_run_time(root: u32) -> f64 {
    let run_time = |task: fs::DirEntry| {
        // Run time, waiting time, time slices (proc_pid_schedstat(5)).
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    };
    tree_tasks(root).filter_map(run_time).sum::<u64>() as f64 / 1e9
}

/// How often the threads of a process and its descendants gave up a core, or lost it.
pub(crate) fn tree_switches(root: u32) -> u64 {
    let switches = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        let counts = lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        Some(counts.sum::<u64>())
    };
    tree_tasks(root).filter_map(switches).sum()
}

fn tree_tasks(root: u32) -> impl Iterator<Item = fs::DirEntry> {
    let tasks = |id: u32| {
        fs::read_dir(format!("/proc/{id}/task"))
            .into_iter()
            .flatten()
    };
    tree(root, &every()).into_iter().flat_map(tasks).flatten()
}

/// Bytes of memory of a process and its descendants, shared pages counted in shares.
pub(crate) fn tree_pss(root: u32) -> u64 {
    let pss = |id: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    tree(root, &every()).iter().filter_map(pss).sum::<u64>() * 1024
}

/// Seconds that all cores were busy, and that the host took from us (steal).
pub(crate) fn machine() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let sum = |which: &[usize]| {
        which.iter().filter_map(|&at| ticks.get(at)).sum::<u64>() as f64 / per_second()
    };
    // user nice system idle iowait irq softirq steal (proc_stat(5))
    (sum(&[0, 1, 2, 5, 6]), sum(&[7]))
}

struct Process {
    parent: u32,
    ticks: u64,
}

fn every() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, one(id)?))).collect()
}

fn one(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and can contain any character. After it: state, ppid, ...
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: number(1)? as u32,
        // utime, stime, cutime, cstime
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

fn tree(root: u32, all: &HashMap<u32, Process>) -> Vec<u32> {
    // Empty for a limit, which has no server.
    let mut found: Vec<u32> = all
        .contains_key(&root)
        .then_some(root)
        .into_iter()
        .collect();
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(
            all.iter()
                .filter(|(_, process)| process.parent == parent)
                .map(|(id, _)| *id),
        );
        at += 1;
    }
    found
}

fn per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}
