//! How much of the memory that this process may use is in use, and how to give some back.
//!
//! What the operating system can take back at once is not counted: the page cache of a store that
//! reads and writes a lot fills whatever there is, and is no reason to do anything.

use std::fmt::Debug;

use bytes::Bytes;
use memmap2::MmapMut;

/// Fewer bytes are left where they are.
const APART_MIN: usize = 128 << 10;

/// Bytes that are to be held for a while, in pages of their own if they are many: those go back to the system
/// when they are let go, where an allocator would keep their room for what comes, and may never need it.
#[must_use]
pub fn apart(bytes: Vec<u8>) -> Bytes {
    if bytes.len() < APART_MIN {
        return bytes.into();
    }
    match MmapMut::map_anon(bytes.len()) {
        Ok(mut pages) => {
            pages.copy_from_slice(&bytes);
            Bytes::from_owner(pages)
        }
        Err(_) => bytes.into(),
    }
}

/// A gauge.
pub trait Memory: Send + Sync + Debug {
    /// In percent. `None`: nobody can tell.
    fn used_percent(&self) -> Option<u8>;
}

/// The fuller of two: the control group of this process, if that has a limit, and the machine. Known
/// on Linux only. Reading it takes some tens of microseconds.
#[derive(Debug)]
pub struct SystemMemory;

impl Memory for SystemMemory {
    fn used_percent(&self) -> Option<u8> {
        let machine = read("/proc/meminfo").and_then(|text| of_machine(&text));
        machine.max(of_group())
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn of_machine(meminfo: &str) -> Option<u8> {
    let all = field(meminfo, "MemTotal:")?;
    percent(all.checked_sub(field(meminfo, "MemAvailable:")?)?, all)
}

fn of_group() -> Option<u8> {
    let groups = read("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let file = |name: &str| {
        read(&format!(
            "/sys/fs/cgroup{}/{name}",
            group.trim_end_matches('/')
        ))
    };
    let limit = file("memory.max")?.trim().parse().ok()?;
    let used = file("memory.current")?.trim().parse().ok()?;
    of_limit(limit, used, &file("memory.stat")?)
}

fn of_limit(limit: u64, used: u64, stat: &str) -> Option<u8> {
    let cached = field(stat, "active_file")? + field(stat, "inactive_file")?;
    percent(used.saturating_sub(cached), limit)
}

/// The number that follows a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut line = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    line.next()?.parse().ok()
}

fn percent(part: u64, all: u64) -> Option<u8> {
    let percent = u128::from(part) * 100 / u128::from(all.max(1));
    Some(percent.min(100) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_taken_back_is_not_counted() {
        let meminfo = "MemTotal:  2000 kB\nMemFree:  100 kB\nMemAvailable:  500 kB\n";
        assert_eq!(of_machine(meminfo), Some(75));
        let stat = "anon 100\nfile 700\ninactive_file 300\nactive_file 200\n";
        assert_eq!(of_limit(1_000, 900, stat), Some(40));
        assert_eq!(of_limit(0, 900, stat), Some(100));
    }

    #[test]
    fn bytes_are_the_same_wherever_they_lie() {
        for length in [0, 1, APART_MIN - 1, APART_MIN, 3 * APART_MIN + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            assert_eq!(apart(bytes.clone()), bytes);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        assert_eq!(of_machine("MemTotal: many kB\nMemAvailable: 1 kB"), None);
        assert_eq!(of_machine("MemTotal: 1 kB\nMemAvailable: 2 kB"), None);
        assert_eq!(of_limit(1_000, 900, "anon 100"), None);
        assert_eq!(read("/nowhere/at/all"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_uses_some_memory() {
        assert!(SystemMemory.used_percent().unwrap() <= 100);
    }
}
