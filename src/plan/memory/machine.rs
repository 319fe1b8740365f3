//! How much memory this process may have: the machine's, or the share of it that control groups
//! and limits of the process leave.

use std::path::Path;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// The memory of the machine in bytes, or the share of it that this process is given.
pub fn machine_memory() -> Option<usize> {
    let machine = || {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        usize::try_from(system.total_memory()).ok().filter(|bytes| *bytes > 0)
    };
    let of_groups = text("/proc/self/cgroup").and_then(|own| of_groups(&own, Path::new(GROUPS)));
    let limits = text("/proc/self/limits");
    let of_process = limits.and_then(|limits| of_process(&limits, &text("/proc/self/status")?));
    [machine(), of_groups, of_process].into_iter().flatten().min()
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The least of a process's groups and all that they are in: a group's own limit may be above that
/// of its parent, which holds all the same.
fn of_groups(own: &str, mounted: &Path) -> Option<usize> {
    let mut least: Option<usize> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // The second version has one tree, the first one a controller.
        let (tree, file) = match controllers {
            "" => (mounted.to_path_buf(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside a container the path may be that of the host; what is mounted is the container's.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = text(tree.join(group).join(file));
            let limit = limit.and_then(|limit| limit.trim().parse().ok());
            least = [least, limit].into_iter().flatten().min();
        }
    }
    least
}

/// What `ulimit -v` leaves of the address space.
fn of_process(limits: &str, status: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: usize = line.split_whitespace().next()?.parse().ok()?;
    let taken = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let taken = bytes(&taken.trim().replace("kB", "KiB"))?;
    Some(limit.saturating_sub(taken))
}

/// A number of bytes, with a unit or without.
pub fn bytes(text: &str) -> Option<usize> {
    const UNITS: [(&str, u64); 14] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
        ("", 1),
    ];
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
    let number = number.trim_end();
    if let Ok(number) = number.parse::<u64>() {
        return usize::try_from(number.checked_mul(*unit)?).ok();
    }
    // Parts of a unit, such as 1.5GB, but no parts of bytes.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = number.parse::<f64>().ok().filter(|_| digits && *unit > 1)?;
    let bytes = number * *unit as f64;
    // Exact up to here; a machine has less.
    (bytes < (1_u64 << 53) as f64).then_some(bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_nested_groups_holds() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", "4000\n");
        write("a/b/memory.max", "max\n");
        write("a/b/c/memory.max", "9000\n");
        let of = |own: &str| of_groups(own, folder.path());
        assert_eq!(of("0::/a/b/c\n"), Some(4000));
        assert_eq!(of("0::/other\n"), None);
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/x/memory.limit_in_bytes", "3000\n");
        assert_eq!(of("7:cpu,memory:/x/y\n3:cpuset:/\n0::/a\n"), Some(3000));
        assert_eq!(of("7:memory:/host/path\n"), Some(9_223_372_036_854_771_712));
        // A container that is told its limit where groups are mounted.
        write("memory.max", "2000\n");
        assert_eq!(of("0::/a/b/c\n"), Some(2000));
    }

    #[test]
    fn a_limit_of_address_space_counts_without_what_is_taken() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max address space         3000000   unlimited   bytes\n";
        assert_eq!(of_process(limits, "VmPeak: 9 kB\nVmSize:\t    1000 kB\n"), Some(1_976_000));
        let none = "Max address space         unlimited   unlimited   bytes\n";
        assert_eq!(of_process(none, "VmSize: 1 kB\n"), None);
    }

    #[test]
    fn bytes_have_units() {
        for (text, number) in [
            ("1000", 1000),
            ("512MB", 512_000_000),
            (" 2 GiB", 2 << 30),
            ("7b", 7),
            ("1.5GB", 1_500_000_000),
            ("512m", 512 << 20),
        ] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for wrong in ["", "GB", "-1", "1.5", "1 XB", "99999999999TiB", "nanGB", "1e3MB", "1_0"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
