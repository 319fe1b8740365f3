//! Both players under the same recordings, then each one's own troubles.

use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::testing::{add_one, alone, program, recording, shared, upload};
use super::{AdapterKind, Player, Tier, gpu, twin};
use crate::config::Options;
use crate::error::DeviceError;
use crate::record::{Access, Command, Completed, Program};

/// Rows with their own count in word 0, as `add_one` wants them.
fn rows(count: u32) -> Vec<u32> {
    let mut words: Vec<u32> = (0..count).map(|row| row.wrapping_mul(2_654_435_761)).collect();
    words[0] = count;
    words
}

/// Uploads `count` rows, adds one, brings them back.
async fn add_one_to(player: &dyn Player, count: u32) -> Result<Completed, DeviceError> {
    let bytes = u64::from(count) * 4;
    let (a, b) = (player.buffer(bytes, "a")?, player.buffer(bytes, "b")?);
    let bindings = vec![a.clone(), b.clone()];
    let commands = vec![
        upload(player, &a, 0, &rows(count)).await?,
        Command::Dispatch { program: add_one(), bindings, groups: count.div_ceil(64) },
        Command::Download { buffer: b, range: 0..bytes },
    ];
    player.submit(recording("add one", commands)).await
}

fn expected(count: u32) -> Vec<u32> {
    rows(count).into_iter().map(|word| word.wrapping_add(1)).collect()
}

/// The players that a test is repeated with.
fn both() -> Vec<Arc<dyn Player>> {
    shared(None).into_iter().chain([twin()]).collect()
}

#[tokio::test]
async fn a_kernel_through_both_players() {
    for player in both() {
        for count in [1, 63, 64, 65, 100_000] {
            let completed = add_one_to(&*player, count).await.unwrap();
            assert_eq!(completed.downloads, [expected(count)], "{count} rows");
        }
    }
}

#[tokio::test]
async fn more_groups_than_one_dimension_has() {
    let Some(player) = shared(None) else { return };
    let count = 70_000 * 64 - 5;
    let completed = add_one_to(&*player, count).await.unwrap();
    assert!(completed.downloads == [expected(count)], "differs");
}

#[tokio::test]
async fn every_tier_opens_and_plays() {
    for tier in [Tier::T0, Tier::T2, Tier::T3, Tier::T4] {
        let Some(player) = shared(Some(tier)) else { return };
        assert_eq!(player.capabilities().tier, tier);
        let completed = add_one_to(&*player, 100).await.unwrap();
        assert_eq!(completed.downloads, [expected(100)]);
    }
}

#[tokio::test]
async fn commands_run_in_order() {
    for player in both() {
        in_order(&*player).await;
    }
}

async fn in_order(player: &dyn Player) {
    let a = player.buffer(64, "a").unwrap();
    let b = player.buffer(64, "b").unwrap();
    let commands = vec![
        upload(player, &a, 0, &[1, 2, 3, 4]).await.unwrap(),
        Command::Download { buffer: a.clone(), range: 4..12 },
        Command::Clear { buffer: a.clone(), range: 8..16 },
        Command::Copy { from: a.clone(), from_at: 0, to: b.clone(), to_at: 4, bytes: 16 },
        upload(player, &a, 0, &[9]).await.unwrap(),
        Command::Download { buffer: b, range: 4..20 },
        Command::Download { buffer: a, range: 0..8 },
    ];
    let completed = player.submit(recording("order", commands)).await.unwrap();
    assert_eq!(completed.downloads, [vec![2, 3], vec![1, 2, 0, 0], vec![9, 2]]);
}

#[tokio::test]
async fn nothing_to_do_is_done() {
    let Some(player) = shared(None) else { return };
    let completed = player.submit(recording("empty", vec![])).await.unwrap();
    assert!(completed.downloads.is_empty());
}

#[tokio::test]
async fn several_in_flight_keep_their_order() {
    for player in both() {
        twenty_steps(&*player).await;
    }
}

async fn twenty_steps(player: &dyn Player) {
    let counter = player.buffer(8, "counter").unwrap();
    let clear = Command::Clear { buffer: counter.clone(), range: 0..8 };
    player.submit(recording("clear", vec![clear])).await.unwrap();
    let body = "
@group(0) @binding(0) var<storage, read_write> c: array<u32>;
@compute @workgroup_size(1)
fn main() { c[0] = c[0] * 3u + 1u; }
";
    let step = program("step", body, &[Access::ReadWrite], |bound| {
        bound.buffers[0][0] = bound.buffers[0][0].wrapping_mul(3).wrapping_add(1);
        Ok(())
    });
    let submits = (0..20).map(|_| {
        let bindings = vec![counter.clone()];
        let commands = vec![
            Command::Dispatch { program: Arc::clone(&step), bindings, groups: 1 },
            Command::Download { buffer: counter.clone(), range: 0..4 },
        ];
        player.submit(recording("step", commands))
    });
    // Polled last first: the order is that of the calls.
    let mut answers =
        futures::future::join_all(submits.collect::<Vec<_>>().into_iter().rev()).await;
    answers.reverse();
    let mut wanted = 0u32;
    for answer in answers {
        wanted = wanted.wrapping_mul(3).wrapping_add(1);
        assert_eq!(answer.unwrap().downloads, [[wanted]]);
    }
}

#[tokio::test]
async fn a_large_upload_in_pieces_and_one_above_the_ring() {
    let Some(player) = shared(None) else { return };
    let words: Vec<u32> = (0..(6 << 20)).collect();
    let buffer = player.buffer(words.len() as u64 * 4, "large").unwrap();
    for (piece, at) in words.chunks(1 << 20).zip((0..).step_by(4 << 20)) {
        let command = upload(&*player, &buffer, at, piece).await.unwrap();
        player.submit(recording("piece", vec![command])).await.unwrap();
    }
    let range = 0..buffer.bytes.min(words.len() as u64 * 4);
    let commands = vec![Command::Download { buffer, range }];
    let completed = player.submit(recording("back", commands)).await.unwrap();
    assert!(completed.downloads[0] == words, "differs");
    // Granted although it is more than the ring holds, as nobody else has any.
    let staging = player.staging(super::gpu::ring::RING_BYTES + 4).await.unwrap();
    assert_eq!(staging.bytes, super::gpu::ring::RING_BYTES + 4);
}

#[tokio::test]
async fn staging_waits_for_the_ring_and_goes_on() {
    let Some(player) = alone() else { return };
    let half = super::gpu::ring::RING_BYTES / 2;
    let first = player.staging(half).await.unwrap();
    let _second = player.staging(half).await.unwrap();
    let third = player.staging(super::gpu::ring::SMALL_BYTES + 4);
    futures::pin_mut!(third);
    let now = futures::poll!(third.as_mut());
    assert!(now.is_pending(), "the ring is used up");
    // Nobody waits for a header.
    let small = player.staging(super::gpu::ring::SMALL_BYTES);
    assert!(tokio::time::timeout(Duration::from_secs(20), small).await.is_ok());
    let to = player.buffer(64, "to").unwrap();
    let command = Command::Upload { from: first, bytes: 64, to, at: 0 };
    player.submit(recording("upload", vec![command])).await.unwrap();
    third.await.unwrap();
}

#[tokio::test]
async fn one_buffer_bound_twice_is_an_error() {
    for player in both() {
        let a = player.buffer(64, "a").unwrap();
        let bindings = vec![a.clone(), a];
        let commands = vec![Command::Dispatch { program: add_one(), bindings, groups: 1 }];
        let error = player.submit(recording("alias", commands)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "device validation: alias, command 0: 'add_one' binds one buffer twice, as 0 and as 1"
        );
    }
}

#[tokio::test]
async fn ranges_outside_their_buffers_are_errors() {
    for player in both() {
        let buffer = player.buffer(256, "a").unwrap();
        let bytes = buffer.bytes;
        for (range, told) in [
            (2..8, "not whole words"),
            (0..bytes + 4, "in a buffer of"),
            (std::ops::Range { start: 8, end: 4 }, "in a buffer of"),
        ] {
            let commands = vec![Command::Download { buffer: buffer.clone(), range }];
            let error = player.submit(recording("range", commands)).await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        let bindings = vec![buffer];
        let commands = vec![Command::Dispatch { program: add_one(), bindings, groups: 1 }];
        let error = player.submit(recording("count", commands)).await.unwrap_err();
        assert!(error.to_string().contains("binds 2 buffers, 1 are given"), "{error}");
    }
}

#[tokio::test]
async fn empty_ranges_are_nothing() {
    for player in both() {
        let a = player.buffer(256, "a").unwrap();
        let b = player.buffer(256, "b").unwrap();
        let commands = vec![
            upload(&*player, &a, 0, &[]).await.unwrap(),
            Command::Clear { buffer: a.clone(), range: 8..8 },
            Command::Copy { from: a.clone(), from_at: 4, to: b.clone(), to_at: 4, bytes: 0 },
            Command::Dispatch { program: add_one(), bindings: vec![a.clone(), b], groups: 0 },
            Command::Download { buffer: a, range: 4..4 },
        ];
        let completed = player.submit(recording("empty", commands)).await.unwrap();
        assert_eq!(completed.downloads, [Vec::<u32>::new()]);
    }
}

#[tokio::test]
async fn a_shader_error_names_file_and_line() {
    let Some(player) = shared(None) else { return };
    let bindings = vec![player.buffer(4, "a").unwrap()];
    for (body, place) in [
        ("fn f() -> u32 {\n  return nowhere;\n}", "<test>:2: "),
        ("fn f() -> u32 {\n\n  return 1.5f;\n}", "<test>:3: "),
        ("fn f( {", "<test>:1: "),
    ] {
        let program = program("broken", body, &[Access::ReadWrite], |_| Ok(()));
        let bindings = bindings.clone();
        let commands = vec![Command::Dispatch { program, bindings, groups: 1 }];
        let error = player.submit(recording("broken", commands)).await.unwrap_err();
        assert!(error.to_string().contains(place), "{error}");
        assert!(matches!(error, DeviceError::Validation(_)));
    }
    // The context goes on.
    assert!(add_one_to(&*player, 10).await.is_ok());
}

#[tokio::test]
async fn a_buffer_of_another_context_is_refused() {
    let (Some(player), Some(other)) = (shared(None), alone()) else { return };
    let buffer = other.buffer(64, "foreign").unwrap();
    let commands = vec![Command::Clear { buffer, range: 0..4 }];
    let error = player.submit(recording("foreign", commands)).await.unwrap_err();
    assert!(error.to_string().contains("another device context"), "{error}");
}

#[tokio::test]
async fn memory_is_reused_and_counted() {
    let Some(player) = alone() else { return };
    // What the float probe left, all of it free.
    let before = player.memory_use();
    let buffer = player.buffer(5 << 20, "first").unwrap();
    let bytes = buffer.bytes;
    assert!(bytes >= 5 << 20);
    assert_eq!(player.memory_use().in_use_bytes, bytes);
    let clone = buffer.clone();
    drop(buffer);
    assert_eq!(player.memory_use().in_use_bytes, bytes, "a clone still has it");
    drop(clone);
    let after = player.memory_use();
    assert_eq!((after.in_use_bytes, after.cached_bytes), (0, before.cached_bytes + bytes));
    let _again = player.buffer((5 << 20) - 1, "second").unwrap();
    let after = player.memory_use();
    assert_eq!((after.cached_bytes, after.peak_bytes), (before.cached_bytes, bytes));
    assert_eq!(after.allocations, before.allocations + 1);
}

#[tokio::test]
async fn out_of_memory_is_an_error_value() {
    let Some(player) = alone() else { return };
    player.inject(Fault::OutOfMemory { nth: 2 });
    let kept = player.buffer(1 << 20, "first").unwrap();
    let Err(error) = player.buffer(1 << 20, "second") else { panic!("the fault did not strike") };
    let expected = DeviceError::OutOfMemory { what: "second".into(), bytes: 1 << 20 };
    assert_eq!(error, expected);
    assert!(error.may_rerun_on_cpu());
    drop(kept);
    // Cached memory is given back to the driver before giving up.
    player.inject(Fault::Squeeze { nth: 1 });
    let _large = player.buffer(2 << 20, "third").unwrap();
    assert_eq!(player.memory_use().cached_bytes, 0);
    assert!(add_one_to(&*player, 10).await.is_ok());
}

#[tokio::test]
async fn above_the_binding_limit_is_a_full_table() {
    let Some(player) = shared(None) else { return };
    let most = player.capabilities().max_binding_bytes;
    let Err(error) = player.buffer(most + 1, "table") else { panic!("granted") };
    assert!(matches!(error, DeviceError::TableFull(_)), "{error}");
}

#[tokio::test]
async fn loss_fails_what_is_pending_and_all_later() {
    let Some(player) = alone() else { return };
    let before = player.buffer(64, "before").unwrap();
    player.inject(Fault::Lose { nth: 2 });
    assert!(add_one_to(&*player, 10).await.is_ok());
    let clear = |buffer| recording("clear", vec![Command::Clear { buffer, range: 0..4 }]);
    let (lost, later) =
        (player.submit(clear(before.clone())), player.submit(clear(before.clone())));
    assert!(matches!(lost.await, Err(DeviceError::Lost(_))));
    assert!(matches!(later.await, Err(DeviceError::Lost(_))));
    assert!(matches!(player.buffer(64, "after"), Err(DeviceError::Lost(_))));
    assert!(matches!(player.staging(64).await, Err(DeviceError::Lost(_))));
}

#[tokio::test]
async fn a_device_that_hangs_is_lost() {
    let Some(player) = alone() else { return };
    player.inject(Fault::Hang { nth: 2 });
    assert!(add_one_to(&*player, 10).await.is_ok());
    let error = add_one_to(&*player, 10).await.unwrap_err();
    assert!(matches!(&error, DeviceError::Lost(text) if text.contains("hangs")), "{error}");
    assert!(matches!(player.buffer(64, "after"), Err(DeviceError::Lost(_))));
}

#[tokio::test]
async fn open_after_a_loss_makes_a_new_context() {
    let Some(_) = shared(None) else { return };
    // Of a tier that no other test opens while this one loses it: T1.
    let options = Options::default();
    let first = gpu::open_shared(&options, Some(Tier::T1)).unwrap();
    let again = gpu::open_shared(&options, Some(Tier::T1)).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    first.inject(Fault::Lose { nth: 1 });
    assert!(matches!(add_one_to(&*first, 10).await, Err(DeviceError::Lost(_))));
    let second = gpu::open_shared(&options, Some(Tier::T1)).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(add_one_to(&*second, 10).await.unwrap().downloads, [expected(10)]);
}

#[test]
fn an_unknown_adapter_is_told_with_those_present() {
    if shared(None).is_none() {
        return;
    }
    let options = Options { adapter: Some("no such thing".into()), ..Options::default() };
    let Err(error) = gpu::open(&options) else { panic!("opened") };
    assert!(error.to_string().starts_with("no GPU adapter: none is named 'no such thing'"));
}

#[tokio::test]
async fn floats_are_probed() {
    let (Some(all), Some(least)) = (shared(None), shared(Some(Tier::T0))) else { return };
    println!("{:?}", all.capabilities());
    let floats = all.capabilities().floats;
    if all.capabilities().kind == AdapterKind::Software {
        // It computes on the CPU that it is compared with.
        assert!(floats.f32_add_mul && floats.f64_add_mul, "{floats:?}");
    }
    // Without the feature there is nothing to be exact.
    assert!(!least.capabilities().floats.f64_add_mul);
    assert_eq!(least.capabilities().floats.f32_add_mul, floats.f32_add_mul);
}

#[tokio::test]
async fn times_are_told_apart() {
    let Some(player) = shared(None) else { return };
    let completed = add_one_to(&*player, 4 << 20).await.unwrap();
    let times = [completed.upload_ns, completed.kernel_ns, completed.download_ns];
    println!("{times:?}");
    if player.capabilities().kind == AdapterKind::Software {
        assert!(times.iter().all(|ns| (1_000..60_000_000_000).contains(ns)), "{times:?}");
    }
}

#[tokio::test]
async fn a_panic_of_the_compiler_is_an_error_and_ends_the_context() {
    let Some(player) = alone() else { return };
    let body = "
@group(0) @binding(0) var<storage, read_write> c: array<u64>;
@compute @workgroup_size(1)
fn main() { c[0] = firstLeadingBit(c[0]); }
";
    // naga 30 accepts it and panics while it writes SPIR-V.
    let program = program("bits", body, &[Access::ReadWrite], |_| Ok(()));
    let bindings = vec![player.buffer(8, "c").unwrap()];
    let commands = vec![Command::Dispatch { program, bindings, groups: 1 }];
    let error = player.submit(recording("panic", commands)).await.unwrap_err();
    assert!(error.to_string().contains("panic: panicked: "), "{error}");
    assert_eq!(add_one_to(&*player, 10).await.unwrap_err(), error);
}

/// A program that no other test has, of one word.
fn once(number: u32) -> Arc<Program> {
    let body = format!(
        "@group(0) @binding(0) var<storage, read_write> c: array<u32>;
@compute @workgroup_size(1) fn main() {{ c[0] = {number}u; }}"
    );
    program("once", &body, &[Access::ReadWrite], |_| Ok(()))
}

async fn dispatch(player: &dyn Player, program: Arc<Program>) -> Result<Completed, DeviceError> {
    let buffer = player.buffer(4, "c")?;
    let commands = vec![
        Command::Dispatch { program, bindings: vec![buffer.clone()], groups: 1 },
        Command::Download { buffer, range: 0..4 },
    ];
    player.submit(recording("once", commands)).await
}

#[tokio::test]
async fn a_pipeline_is_counted_where_it_is_used_first() {
    let Some(player) = alone() else { return };
    player.compile_ahead((0..30).map(once).collect());
    // Some of them are ready, some under way, some nobody has begun.
    for (nth, number) in [29, 0, 15, 29, 0].into_iter().enumerate() {
        let completed = dispatch(&*player, once(number)).await.unwrap();
        assert_eq!(completed.downloads, [[number]]);
        assert_eq!(completed.pipelines_made, u64::from(nth < 3), "{number}");
    }
    // Not ahead of anything; known already; and what is still being compiled is waited for.
    assert_eq!(dispatch(&*player, once(77)).await.unwrap().pipelines_made, 1);
    player.compile_ahead(vec![once(77), once(78), once(79)]);
    assert_eq!(dispatch(&*player, once(77)).await.unwrap().pipelines_made, 0);
}

#[tokio::test]
async fn an_error_of_compiling_ahead_comes_out_at_the_use() {
    let Some(player) = alone() else { return };
    let wrong = || {
        let body = "@compute @workgroup_size(1) fn main() { nowhere(); }";
        program("wrong", body, &[Access::ReadWrite], |_| Ok(()))
    };
    player.compile_ahead(vec![wrong(), once(1)]);
    assert_eq!(dispatch(&*player, once(1)).await.unwrap().downloads, [[1]]);
    for _ in 0..2 {
        let error = dispatch(&*player, wrong()).await.unwrap_err().to_string();
        assert!(error.contains("kernel 'wrong'") && error.contains("<test>:1: "), "{error}");
    }
    assert_eq!(dispatch(&*player, once(2)).await.unwrap().downloads, [[2]]);
}

#[tokio::test]
async fn many_pipelines_and_runs_in_one_recording() {
    let Some(player) = shared(None) else { return };
    let a = player.buffer(4, "a").unwrap();
    let mut commands = vec![Command::Clear { buffer: a.clone(), range: 0..4 }];
    for n in 0..40 {
        let body = format!(
            "@group(0) @binding(0) var<storage, read_write> c: array<u32>;
             @compute @workgroup_size(1) fn main() {{ c[0] = c[0] * 3u + {n}u; }}"
        );
        let program = program("step", &body, &[Access::ReadWrite], |_| Ok(()));
        let bindings = vec![a.clone()];
        commands.push(Command::Dispatch { program, bindings, groups: 1 });
        commands.push(Command::Download { buffer: a.clone(), range: 0..4 });
    }
    let completed = player.submit(recording("many", commands)).await.unwrap();
    let mut wanted = 0u32;
    for (n, found) in completed.downloads.iter().enumerate() {
        wanted = wanted.wrapping_mul(3).wrapping_add(n as u32);
        assert_eq!(found, &[wanted], "step {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_share_a_ring_smaller_than_their_needs() {
    let Some(player) = shared(None) else { return };
    // Sixteen times 20 MiB at once: more than the ring holds.
    let words = 5 << 20;
    let tasks = (0..16u32).map(|task| {
        let player = Arc::clone(&player);
        tokio::spawn(async move {
            let bytes = words * 4;
            let buffer = player.buffer(bytes, "share").unwrap();
            let mut from = player.staging(bytes).await.unwrap();
            from.words().fill(task);
            let commands = vec![
                Command::Upload { from, bytes, to: buffer.clone(), at: 0 },
                Command::Download { buffer: buffer.clone(), range: 0..4 },
                Command::Download { buffer, range: bytes - 4..bytes },
            ];
            let completed = player.submit(recording("share", commands)).await.unwrap();
            assert_eq!(completed.downloads, [[task], [task]]);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}
