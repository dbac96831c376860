//! Memory limits from the available memory of the container or machine: a share for each consumer.

use std::path::Path;

use super::Config;

/// Percentage of the available memory that the server uses: the rest is for other processes, and for the page cache of
/// its files.
const PERCENT: u64 = 75;
/// The memory assumed if it cannot be determined.
const UNKNOWN_BYTES: u64 = 4 << 30;
/// The least value of a limit that is computed.
const LEAST_BYTES: u64 = 1 << 20;

/// All memory limits in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The limit of the whole process.
    pub total: u64,
    pub state: u64,
    pub query: u64,
    pub value: u64,
    pub sessions: u64,
    pub epoch: u64,
    pub epoch_input: u64,
    pub changelog: u64,
    pub dead_letters: u64,
    pub late_rows: u64,
    pub journal_segment: u64,
}

impl Limits {
    /// The limits of a configuration, on a machine with `available` bytes of memory.
    ///
    /// What is not counted has the rest, about 15 %: code and threads, what the allocator retains, buffers of files and
    /// sockets, a checkpoint that is being written.
    pub fn of(config: &Config, available: Option<u64>) -> Limits {
        let part = |of: u64, percent: u64| (of / 100 * percent).max(LEAST_BYTES);
        let total = config.memory_limit.or(available.map_or(UNKNOWN_BYTES, |bytes| part(bytes, PERCENT)));
        let query = config.query.memory_limit.or(part(total, 20));
        let epoch = config.epoch.memory_limit.or(part(total, 10));
        Limits {
            total,
            query,
            epoch,
            state: config.state.memory_limit.or(part(total, 35)),
            value: config.query.value_limit.or((query / 8).clamp(LEAST_BYTES, 256 << 20)),
            sessions: config.sessions.memory_limit.or(part(total, 10)),
            // Two inputs may be read concurrently, each of which takes four times its size.
            epoch_input: config.epoch.max_bytes.or((epoch / 8).clamp(LEAST_BYTES, 256 << 20)),
            changelog: config.changelog.memory_limit.or(part(total, 5)),
            dead_letters: config.dead_letters.max_bytes.or(part(total, 1).min(64 << 20)),
            late_rows: config.late_rows.max_bytes.or(part(total, 1).min(64 << 20)),
            journal_segment: config.journal.segment_size.or(part(total, 3).min(64 << 20)),
        }
    }
}

/// The memory limit of the container, or the memory of the machine if that is less or there is no container.
pub fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u64> {
    let read = |path: String| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo".to_string()).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("proc/self/cgroup".to_string()).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits_of(line, &read));
    machine.into_iter().chain(limits).min()
}

/// The limits by a line of `/proc/self/cgroup`: those of its group and of all parent groups.
///
/// ```text
/// 0::/path                      version 2: memory.max
/// 4:cpu,memory:/path            version 1: memory.limit_in_bytes
/// ```
fn limits_of(line: &str, read: &impl Fn(String) -> Option<String>) -> Vec<u64> {
    let mut fields = line.splitn(3, ':');
    let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (folder, file) = match (number, controllers) {
        ("0", "") => ("sys/fs/cgroup", "memory.max"),
        (_, list) if list.split(',').any(|one| one == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    // In a container its own group is the root of what it sees, whatever its path outside.
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != "..").collect();
    let levels =
        (0..=names.len()).map(|depth| names[..depth].iter().map(|name| format!("/{name}")).collect::<String>());
    let limit = |level: String| read(format!("{folder}{level}/{file}"))?.trim().parse::<u64>().ok();
    levels.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::MemoryLimit;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       16384 kB\nMemFree:   1 kB\n");
    const V2: &str = "sys/fs/cgroup";
    const V1: &str = "sys/fs/cgroup/memory";

    #[test]
    fn available_memory_is_the_least_of_cgroup_limits_and_machine() {
        let found = |files: &[(&str, &str)]| available_below(root(files).path());
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[MACHINE]), Some(16 << 20));
        let two = ("proc/self/cgroup", "0::/a/b\n");
        let max = |path: &str, text: &'static str| (format!("{V2}{path}/memory.max"), text);
        for (path, text, expected) in [
            ("/a/b", "4194304\n", 4 << 20),
            ("/a", "4194304\n", 4 << 20),
            // The group is the root of what the container sees.
            ("", "4194304\n", 4 << 20),
            ("/a/b", "max\n", 16 << 20),
            ("/a/b", "99999999999999\n", 16 << 20),
            ("/other", "4194304\n", 16 << 20),
        ] {
            let (path, text) = max(path, text);
            assert_eq!(found(&[MACHINE, two, (&path, text)]), Some(expected), "{path}");
        }
        let one = ("proc/self/cgroup", "5:cpuacct,cpu:/c\n4:memory:/docker/1\n0::/\n");
        for path in [format!("{V1}/docker/1/memory.limit_in_bytes"), format!("{V1}/memory.limit_in_bytes")] {
            assert_eq!(found(&[MACHINE, one, (&path, "8388608\n")]), Some(8 << 20), "{path}");
        }
        let none = format!("{V1}/docker/1/memory.limit_in_bytes");
        assert_eq!(found(&[MACHINE, one, (&none, "9223372036854771712\n")]), Some(16 << 20));
    }

    #[test]
    fn memory_limits_sum_to_less_than_the_total_and_explicit_ones_are_kept() {
        for total in [512 << 20, 4_u64 << 30, 1 << 40] {
            let config = Config { memory_limit: MemoryLimit::Bytes(total), ..Config::default() };
            let Limits { state, query, sessions, epoch, changelog, dead_letters, late_rows, journal_segment, .. } =
                Limits::of(&config, Some(1 << 50));
            let all = state + query + sessions + epoch + changelog + dead_letters + late_rows + journal_segment;
            assert!(all < total / 100 * 86, "{all} of {total}");
        }
        let mut config = Config::default();
        assert_eq!(Limits::of(&config, Some(1 << 30)).total, (1 << 30) / 100 * 75);
        assert_eq!(Limits::of(&config, None).total, UNKNOWN_BYTES);
        config.state.memory_limit = MemoryLimit::Bytes(7);
        assert_eq!(Limits::of(&config, None).state, 7);
    }
}
