//! What host and shader must agree on: the shape of a workgroup, the constants that stand on both
//! sides, the faults that parity tests plant.

use std::collections::BTreeSet;

use thalweg::config::WORKGROUP;
use thalweg::fragment::{arena, join, values};
use thalweg::kernel::{KERNELS, build, group_hash, mark, select};

/// The value of `const NAME: u32 = …;` in a shader.
fn constant(wgsl: &str, name: &str) -> Option<u32> {
    let start = wgsl.find(&format!("const {name}: u32 = "))?;
    let value = wgsl[start..].split('=').nth(1)?.split(';').next()?.trim().trim_end_matches('u');
    let hex = value.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
    hex.unwrap_or_else(|| value.parse()).ok()
}

fn shader(stem: &str) -> &'static str {
    let kernel = KERNELS.iter().find(|kernel| kernel.name == stem);
    kernel.unwrap_or_else(|| panic!("no kernel {stem}")).wgsl
}

/// Constants that the host knows by a name of its own; those that only a shader uses are not here.
#[test]
fn constants_are_equal_on_both_sides() {
    let equal = [
        ("compact", "COUNTS", select::COUNTS_HEADER as u32),
        ("compact", "ITEMS", select::TILE / WORKGROUP),
        ("select", "COUNTS", select::COUNTS_HEADER as u32),
        ("scan", "HEADER", select::COUNTS_HEADER as u32),
        ("select", "ITEMS", select::TILE / WORKGROUP),
        ("mark", "ITEMS", mark::TILE / WORKGROUP),
        ("build", "ITEMS", build::ITEMS),
        ("build", "SLOTS", join::INDEX_HEADER as u32),
    ];
    for (stem, name, host) in equal {
        assert_eq!(constant(shader(stem), name), Some(host), "{stem}.wgsl: {name}");
    }
    let grid = std::fs::read_to_string("shaders/lib/grid.wgsl").unwrap();
    assert_eq!(constant(&grid, "WORKGROUP"), Some(WORKGROUP));
    // As `lib/scan` splits it.
    assert_eq!(WORKGROUP, 8 * 32);
    assert_eq!(constant(&grid, "NIL"), Some(values::NIL));
    let place = std::fs::read_to_string("shaders/lib/place.wgsl").unwrap();
    assert_eq!(constant(&place, "PROBES_MAX"), Some(group_hash::PROBES_MAX));
    let spill = std::fs::read_to_string("shaders/lib/spill.wgsl").unwrap();
    assert_eq!(constant(&spill, "SPILL"), Some(group_hash::SPILL_HEADER as u32));
    let slot = std::fs::read_to_string("shaders/lib/slot.wgsl").unwrap();
    let [x, y] = arena::H_ZEROS;
    let zeros = format!("return vec2<u32>(slot[{x}], slot[{y}]);");
    assert!(slot.contains(&zeros), "zeros() in lib/slot");
    let forms = std::fs::read_to_string("shaders/lib/join.wgsl").unwrap();
    let names = [("DIRECT", join::DIRECT), ("WIDE", join::WIDE), ("BITMAP", join::BITMAP)];
    for (name, host) in names {
        assert_eq!(constant(&forms, name), Some(host), "{name}");
    }
    assert_ne!(constant("const SLOTS: u32 = 5u;", "SLOTS"), Some(4), "the reading itself");
}

#[test]
fn every_kernel_has_one_entry_point_and_the_workgroup_of_the_host() {
    for kernel in KERNELS {
        let name = kernel.name;
        let entry = "@compute @workgroup_size(WORKGROUP)";
        assert_eq!(kernel.wgsl.matches("@compute").count(), 1, "{name}: entry points");
        assert!(kernel.wgsl.contains(entry), "{name}: no {entry}");
        assert!(kernel.parts.contains(&"lib/grid"), "{name}: nothing says what WORKGROUP is");
        // The number itself stands in one shader only.
        assert!(!kernel.wgsl.contains(&WORKGROUP.to_string()), "{name}: {WORKGROUP}");
        assert!(kernel.wgsl.contains("fn main("), "{name}: its entry point is not main");
    }
}

/// A binding's number stands in one place only, and the numbers leave no gap: the host counts them.
#[test]
fn bindings_are_counted_through() {
    for kernel in KERNELS {
        let parts = kernel
            .parts
            .iter()
            .map(|part| std::fs::read_to_string(format!("shaders/{part}.wgsl")).unwrap());
        let text: String = parts.chain([kernel.wgsl.to_owned()]).collect();
        let numbers = text
            .split("@binding(")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap().parse::<usize>().unwrap());
        let numbers: Vec<usize> = numbers.collect();
        let unique: BTreeSet<usize> = numbers.iter().copied().collect();
        assert_eq!(unique.len(), numbers.len(), "{}: a binding twice", kernel.name);
        let counted: BTreeSet<usize> = (0..numbers.len()).collect();
        assert_eq!(unique, counted, "{}: bindings leave a gap", kernel.name);
    }
}

/// A fault whose text is not in the shader would be planted nowhere, and never seen.
#[test]
fn planted_faults_change_the_shader() {
    for kernel in KERNELS {
        assert!(!kernel.faults.is_empty(), "{}: no fault to plant", kernel.name);
        for (from, to) in kernel.faults {
            assert_ne!(kernel.wgsl.replace(from, to), kernel.wgsl, "{}: {from}", kernel.name);
        }
    }
}

/// The list is the table of contents: shader, host side and list agree.
#[test]
fn shaders_and_kernels_are_the_same() {
    let stems = |folder: &str, ending: &str| -> BTreeSet<String> {
        let names = std::fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect()
    };
    let listed: BTreeSet<String> = KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect();
    assert_eq!(listed.len(), KERNELS.len(), "a kernel is listed twice");
    assert_eq!(stems("shaders", ".wgsl"), listed, "shaders/*.wgsl (left) and KERNELS (right)");
    let hosts = stems("src/kernel", ".rs");
    for kernel in KERNELS {
        assert!(hosts.contains(kernel.name), "no src/kernel/{}.rs", kernel.name);
        let file = std::fs::read_to_string(format!("shaders/{}.wgsl", kernel.name)).unwrap();
        assert!(file == kernel.wgsl, "{}: the text is another file's", kernel.name);
    }
    let helpers: BTreeSet<&str> = hosts.iter().map(String::as_str).collect();
    let more: Vec<&&str> = helpers.iter().filter(|name| !listed.contains(**name)).collect();
    let known = ["mod"];
    assert!(more.iter().all(|name| known.contains(name)), "no shader for {more:?}");
}

/// A part that nobody includes is dead.
#[test]
fn every_part_is_included() {
    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    sources(std::path::Path::new("src"), &mut text);
    for entry in std::fs::read_dir("shaders/lib").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("shaders/lib/{name}\")")), "included by nobody: lib/{name}");
    }
    assert!(!text.contains("shaders/lib/nobody.wgsl\")"), "the search itself");
}
