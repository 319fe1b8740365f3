//! Kernels as Metal and DirectX 12 are given them. The text is naga's, of the version that wgpu
//! has; whether a driver compiles it, and what it computes, only such a system tells.

use naga::back::{hlsl, msl};
use naga::valid::{Capabilities as Caps, ModuleInfo};

use thalweg::config::WORKGROUP;
use thalweg::device::Tier;
use thalweg::record::Access;

use super::linked::{LEAST_WORKGROUP_BYTES, Linked, allowed, parse, programs, validated};

/// Where kernels are translated to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum System {
    Metal,
    DirectX12,
}

impl System {
    /// The highest tier that wgpu offers: Metal has 64-bit integers, of the atomics on them only
    /// minimum and maximum, and no 64-bit floats; DirectX 12 has both atomics and floats, but wgpu
    /// does not offer the floats.
    fn highest(self) -> Tier {
        match self {
            System::Metal => Tier::T2,
            System::DirectX12 => Tier::T3,
        }
    }

    /// What its back end of naga writes.
    fn writes(self) -> Caps {
        match self {
            System::Metal => msl::supported_capabilities(),
            System::DirectX12 => hlsl::supported_capabilities(),
        }
    }
}

/// The version of the language that a tier needs by wgpu's rules: of Metal's 2.0 for any kernel of
/// ours, 2.1 for subgroups, 2.3 for 64-bit integers.
fn metal_version(tier: Tier) -> (u8, u8) {
    match tier {
        Tier::T0 => (2, 0),
        Tier::T1 => (2, 1),
        _ => (2, 3),
    }
}

/// The same of shader models: 5.1 is the least of wgpu's DirectX 12, 6.0 brings subgroups and
/// 64-bit integers, 6.6 atomics on them.
fn shader_model(tier: Tier) -> hlsl::ShaderModel {
    match tier {
        Tier::T0 => hlsl::ShaderModel::V5_1,
        Tier::T1 | Tier::T2 => hlsl::ShaderModel::V6_0,
        _ => hlsl::ShaderModel::V6_6,
    }
}

fn to_metal(
    module: &naga::Module,
    info: &ModuleInfo,
    bindings: &[Access],
    version: (u8, u8),
) -> Result<String, String> {
    let slot = |(binding, access): (u32, &Access)| {
        let mutable = *access == Access::ReadWrite;
        let target = msl::BindTarget { buffer: Some(binding as u8), mutable, ..Default::default() };
        (naga::ResourceBinding { group: 0, binding }, target)
    };
    let resources = msl::EntryPointResources {
        resources: (0..).zip(bindings).map(slot).collect(),
        // Behind all others, as wgpu has it.
        sizes_buffer: Some(bindings.len() as u8),
        ..Default::default()
    };
    let unchecked = naga::proc::BoundsCheckPolicy::Unchecked;
    let options = msl::Options {
        lang_version: version,
        per_entry_point_map: [("main".to_string(), resources)].into(),
        fake_missing_bindings: false,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions::default();
    let (text, told) = msl::write_string(module, info, &options, &pipeline)
        .map_err(|error| format!("Metal: {error}"))?;
    match &told.entry_point_names[..] {
        [Ok(_)] => Ok(text),
        other => Err(format!("Metal: entry points {other:?}")),
    }
}

fn to_directx(
    module: &naga::Module,
    info: &ModuleInfo,
    bindings: &[Access],
    shader_model: hlsl::ShaderModel,
) -> Result<String, String> {
    let register = |binding: u32| {
        let target = hlsl::BindTarget { register: binding, ..Default::default() };
        (naga::ResourceBinding { group: 0, binding }, target)
    };
    let options = hlsl::Options {
        shader_model,
        binding_map: (0..bindings.len() as u32).map(register).collect(),
        fake_missing_bindings: false,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    match &written.map_err(|error| format!("DirectX 12: {error}"))?.entry_point_names[..] {
        [Ok(_)] => Ok(text),
        other => Err(format!("DirectX 12: entry points {other:?}")),
    }
}

/// Translates a text of a tier: an error if the system's language does not have what it uses.
fn translate(
    wgsl: &str,
    bindings: &[Access],
    tier: Tier,
    system: System,
) -> Result<String, String> {
    let (module, _) = parse(wgsl, allowed(tier))?;
    let info = validated(&module, allowed(tier) & system.writes())?;
    match system {
        System::Metal => to_metal(&module, &info, bindings, metal_version(tier)),
        System::DirectX12 => to_directx(&module, &info, bindings, shader_model(tier)),
    }
}

/// As the lowest of its tiers has it, which asks for the oldest version of the language.
fn translated(linked: &Linked, system: System) -> Result<String, String> {
    let (tier, bindings) = (linked.tier(), &linked.program.code.bindings);
    let missing = allowed(tier) - system.writes();
    let info = match missing.is_empty() {
        true => &linked.info,
        false => &validated(&linked.module, allowed(tier) & system.writes())?,
    };
    match system {
        System::Metal => to_metal(&linked.module, info, bindings, metal_version(tier)),
        System::DirectX12 => to_directx(&linked.module, info, bindings, shader_model(tier)),
    }
}

/// Up to the highest tier that the system has, without exception. The entry point has a name of the
/// system's own, as `main` is none in Metal.
#[test]
fn every_program_is_translated() {
    let mut failed = Vec::new();
    for linked in programs() {
        for (system, entry) in [(System::Metal, "kernel void "), (System::DirectX12, "numthreads")]
        {
            if linked.tier() > system.highest() {
                continue;
            }
            match translated(linked, system) {
                Ok(text) => assert!(text.contains(entry), "{}: {text}", linked.place()),
                Err(error) => failed.push(format!("{}: {error}", linked.place())),
            }
        }
    }
    assert!(failed.is_empty(), "{} are not:\n{}", failed.len(), failed.join("\n"));
}

/// Kernels of the tiers above are no texts of Metal where they compute with 64-bit floats or add to
/// cells of 64 bits, and only there: what is said of tiers is so for what they add, and not for
/// more.
#[test]
fn what_a_system_lacks_is_what_is_said() {
    let has = |linked: &Linked, part: &str| linked.program.parts.iter().any(|of| of.1 == part);
    let floats = |linked: &Linked| has(linked, "lib/float_t4");
    let cells = |linked: &Linked| has(linked, "lib/cell_t3");
    let above = |linked: &&Linked| linked.tier() > System::Metal.highest();
    for linked in programs().iter().filter(above) {
        let failed = translated(linked, System::Metal).is_err();
        assert_eq!(failed, floats(linked) || cells(linked), "{}", linked.place());
    }
    assert!(programs().iter().any(floats), "no program computes with 64-bit floats");
    assert!(programs().iter().any(cells), "no table has cells of 64 bits");
    // Of all tiers, DirectX 12 could have them: it is wgpu that does not offer the last.
    for linked in programs().iter().filter(|linked| linked.tier() > System::DirectX12.highest()) {
        translated(linked, System::DirectX12).unwrap();
    }
    let atomics = "
        @group(0) @binding(0) var<storage, read_write> sums: array<atomic<u64>>;
        @compute @workgroup_size(1)
        fn main() { let old = atomicAdd(&sums[0], 1lu); atomicMax(&sums[1], old); }";
    let translate = |tier, system| translate(atomics, &[Access::ReadWrite], tier, system);
    assert!(translate(Tier::T3, System::DirectX12).unwrap().contains("InterlockedAdd64"));
    assert!(translate(Tier::T3, System::Metal).is_err(), "Metal adds to 64-bit atomics");
    assert!(translate(Tier::T2, System::DirectX12).is_err(), "T2 has 64-bit atomics");
}

/// A fault in a kernel, or a binding that nobody gives, is seen.
#[test]
fn what_cannot_be_translated_is_seen() {
    let linked = &programs()[0];
    let bindings = &linked.program.code.bindings;
    for system in [System::Metal, System::DirectX12] {
        let wgsl = &linked.program.code.wgsl;
        assert!(translate(wgsl, bindings, linked.tier(), system).is_ok());
        let native = format!("{wgsl}\nfn f(a: u64) -> u64 {{ return a + a; }}");
        assert!(translate(&native, bindings, Tier::T0, system).is_err(), "{system:?}: u64 at T0");
        let (fewer, tier) = (&bindings[..bindings.len() - 1], linked.tier());
        let missing = std::panic::catch_unwind(|| translate(wgsl, fewer, tier, system));
        assert!(!matches!(missing, Ok(Ok(_))), "{system:?}: a binding is missing");
    }
}

// ---------------------------------------------------------------------------------- limits

/// Bytes of the workgroup memory that a program declares.
fn workgroup_bytes(module: &naga::Module) -> u32 {
    let shared = module.global_variables.iter().map(|(_, variable)| variable);
    let shared = shared.filter(|variable| variable.space == naga::AddressSpace::WorkGroup);
    // Each on 16 bytes, as Metal lays them out.
    shared
        .map(|variable| module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16))
        .sum()
}

/// Joins of a program: its tables, of which names begin with `t` and go on with a number.
fn joins(module: &naga::Module) -> usize {
    let names = module.global_variables.iter().filter_map(|(_, variable)| variable.name.as_ref());
    let numbered =
        |name: &&String| name.strip_prefix('t').is_some_and(|rest| rest.parse::<u32>().is_ok());
    names.filter(numbered).count()
}

/// An adapter has 8 storage buffers a stage at least, 16 KiB of workgroup memory, 256 invocations
/// of a workgroup. Metal has 31 buffers in all, of which wgpu and naga take two.
#[test]
fn every_program_is_within_the_limits_of_small_adapters() {
    const LEAST_BINDINGS: usize = 8;
    const METAL_BINDINGS: usize = 29;
    let (mut most, mut most_bindings) = (0, 0);
    for linked in programs() {
        let module = &linked.module;
        let place = linked.place();
        let bindings = linked.program.code.bindings.len();
        assert!(bindings <= METAL_BINDINGS, "{place}: {bindings} bindings");
        // What the plan counts on: five of its own, marks, and a table for each join.
        let marks = module.global_variables.iter().any(|(_, v)| v.name.as_deref() == Some("marks"));
        let counted = 5 + usize::from(marks) + joins(module);
        // Views are left out where an adapter has no bindings for them.
        let bindings = linked.program.code.buffers();
        assert!(bindings <= counted, "{place}: {bindings} bindings, the plan counts {counted}");
        // Two joins, with marks, fit every adapter.
        assert!(bindings - joins(module) <= LEAST_BINDINGS - 2, "{place}: {bindings} bindings");
        let bytes = workgroup_bytes(module);
        assert!(bytes <= LEAST_WORKGROUP_BYTES, "{place}: {bytes} bytes of workgroup memory");
        most = most.max(bytes);
        most_bindings = most_bindings.max(bindings - joins(module));
        let [entry] = &module.entry_points[..] else { panic!("{place}: entry points") };
        assert_eq!(entry.workgroup_size, [WORKGROUP, 1, 1], "{place}");
    }
    const { assert!(WORKGROUP <= 256) };
    assert_eq!(most_bindings, LEAST_BINDINGS - 2, "no program plays rows again beside marks");
    assert!(most > LEAST_WORKGROUP_BYTES / 2, "no program comes near the limit: {most} bytes");
}
