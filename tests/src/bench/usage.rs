//! What processes used, read from /proc: CPU seconds and peak memory.

use std::collections::HashMap;

/// What the kernel counts CPU time in: on Linux always a hundredth of a second, whatever the kernel's own clock.
const TICKS_PER_SEC: f64 = 100.0;

/// One line of /proc/PID/stat.
struct Stat {
    state: char,
    parent: u32,
    own: u64,
    /// Of children that have ended.
    children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect(); // a name may hold anything
    let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        children: ticks(13)? + ticks(14)?,
    })
}

/// CPU seconds of one process so far. Also of one that has ended and was not waited for.
pub fn cpu_secs(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own as f64 / TICKS_PER_SEC)
}

/// CPU seconds of a process and all its children so far, those that have ended among them.
pub fn cpu_secs_of_family(pid: u32) -> f64 {
    let of_self = stat(pid).map_or(0, |stat| stat.own + stat.children);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = entries.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?));
    let of_children: u64 = children.filter(|child| child.parent == pid).map(|child| child.own + child.children).sum();
    (of_self + of_children) as f64 / TICKS_PER_SEC
}

/// Whether it has ended and was not waited for.
pub fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.state == 'Z')
}

/// The most memory that processes were seen to have, in KiB.
#[derive(Debug, Default)]
pub struct Peaks(HashMap<u32, u64>);

impl Peaks {
    /// Looks again.
    pub fn look(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()) {
            let peak = self.0.entry(pid).or_default();
            *peak = kib.max(*peak);
        }
    }

    /// The most that it ever had.
    pub fn of(&self, pid: u32) -> u64 {
        self.0.get(&pid).copied().unwrap_or(0)
    }
}
