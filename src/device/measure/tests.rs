//! What is timed does the work that it is timed for.

use super::meter::gb_s;
use super::programs::{Add, READS, atomics, copy, invocations, read, sectors};
use super::{Effort, most_bytes};
use crate::device::testing::{recording, shared, upload};
use crate::device::{AdapterKind, Capabilities, Player, twin};
use crate::record::{Buffer, Command};

async fn play(player: &dyn Player, mut commands: Vec<Command>, buffer: &Buffer) -> Vec<u32> {
    commands.push(Command::Download { buffer: buffer.clone(), range: 0..buffer.bytes });
    let completed = player.submit(recording("measured", commands)).await.unwrap();
    completed.downloads[0].to_vec()
}

fn clear(buffer: &Buffer) -> Command {
    Command::Clear { buffer: buffer.clone(), range: 0..buffer.bytes }
}

#[tokio::test]
async fn a_kernel_that_copies_does() {
    let Some(player) = shared(None) else { return };
    let [a, b] = [(); 2].map(|()| player.buffer(4 << 20, "a").unwrap());
    let words: Vec<u32> = (0..1 << 20).map(|at| at ^ 77).collect();
    let commands = vec![upload(&*player, &a, 0, &words).await.unwrap(), clear(&b), copy(&a, &b)];
    assert!(play(&*player, commands, &b).await == words);
}

/// The words that are kept tell that all was read: the sum is that of every word.
#[tokio::test]
async fn a_kernel_that_reads_adds_up_what_is_there() {
    let Some(player) = shared(None) else { return };
    let a = player.buffer(4 << 10, "a").unwrap();
    let kept = player.buffer(256, "kept").unwrap();
    let words: Vec<u32> = (0..1 << 10).map(|at| at * at + 5).collect();
    // Of the invocation that has the first four words, and of no other.
    let sum = words[..4].iter().sum::<u32>();
    for (given, found) in [(sum, true), (sum + 1, false)] {
        let commands = vec![
            upload(&*player, &a, 0, &words).await.unwrap(),
            upload(&*player, &kept, 0, &[given, 12_345]).await.unwrap(),
            read(&a, &kept),
        ];
        let kept = play(&*player, commands, &kept).await;
        assert_eq!(kept[1] == 0, found, "{kept:?}");
    }
}

#[tokio::test]
async fn every_addition_is_counted() {
    let Some(player) = shared(None) else { return };
    for add in Add::ALL.into_iter().filter(|add| add.tier() <= player.capabilities().tier) {
        for addresses in [1, 32, 1024] {
            let counters = player.buffer(8 * u64::from(addresses), "a").unwrap();
            let kept = player.buffer(256, "kept").unwrap();
            let commands =
                vec![clear(&counters), clear(&kept), atomics(add, addresses, &counters, &kept, 5)];
            let found = play(&*player, commands, &counters).await;
            let sum: u64 = found.iter().map(|count| u64::from(*count)).sum();
            assert_eq!(sum, invocations(5) * u64::from(add.adds()), "{add:?}, {addresses}");
            let used = found.iter().filter(|count| **count > 0).count();
            assert_eq!(used, addresses as usize, "{add:?}: counters added to");
        }
    }
}

#[tokio::test]
async fn sectors_are_read_all_over_the_table() {
    let Some(player) = shared(None) else { return };
    let table = player.buffer(1 << 12, "a").unwrap();
    let kept = player.buffer(256, "kept").unwrap();
    // Sixteen sectors of zeros have a sum of zero, and each sector is read by somebody.
    for at in [None, Some(0), Some(1023)] {
        let mut words = vec![0; 1024];
        let expected = at.map(|at: usize| words[at] = 1 << 20);
        let commands = vec![
            upload(&*player, &table, 0, &words).await.unwrap(),
            upload(&*player, &kept, 0, &[1 << 20, 12_345]).await.unwrap(),
            sectors(&table, &kept, 8),
        ];
        let found = play(&*player, commands, &kept).await[1] != 12_345;
        assert_eq!(found, expected.is_some(), "{at:?}, {READS} reads");
    }
}

#[test]
fn sizes_stay_within_the_device() {
    let gpu = |memory: u64, kind| Capabilities {
        kind,
        memory_bytes: Some(memory),
        max_binding_bytes: (1 << 31) - 256,
        ..twin::capabilities()
    };
    let large = Effort::of(&gpu(80 << 30, AdapterKind::Discrete));
    assert!(large.bytes.last().is_some_and(|bytes| *bytes > 1 << 30), "{large:?}");
    assert_eq!(large.rows, [1 << 20, 1 << 24, 1 << 27]);
    let small = gpu(2 << 30, AdapterKind::Integrated);
    let effort = Effort::of(&small);
    for bytes in effort.bytes.iter().chain(&effort.tables) {
        assert!(2 * bytes <= (2 << 30) / 4, "{effort:?}");
    }
    assert!(effort.rows.iter().all(|rows| 4 * rows <= most_bytes(&small)));
    assert!(effort.tables.iter().all(|bytes| bytes.is_power_of_two()));
    assert_eq!(gb_s(2_000_000_000, std::time::Duration::from_secs(2)), 1.0);
}
