//! Sessions against a search through all pairs of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Sessions, Spec};

const GAP: i64 = 10;

#[derive(Debug, Clone)]
struct Event {
    id: i64,
    partition: i32,
    offset: i64,
    key: Option<&'static str>,
    time: i64,
    watermark: i64,
}

impl Event {
    fn end(&self) -> i64 {
        self.time + GAP
    }

    fn touches(&self, other: &Self) -> bool {
        self.time <= other.end() && other.time <= self.end()
    }
}

struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        (self.0.random::<u64>() % bound) as i64
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("ts", time.clone(), true),
        Field::new("__partition", DataType::Int32, false),
        Field::new("__offset", DataType::Int64, false),
        Field::new("__watermark", time, false),
    ]))
}

fn batch(events: &[Event]) -> RecordBatch {
    let column = |of: fn(&Event) -> i64| events.iter().map(of).collect::<Vec<_>>();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(column(|e| e.id))),
            Arc::new(events.iter().map(|event| event.key).collect::<StringArray>()),
            Arc::new(TimestampMicrosecondArray::from(column(|e| e.time))),
            Arc::new(Int32Array::from_iter_values(events.iter().map(|e| e.partition))),
            Arc::new(Int64Array::from(column(|e| e.offset))),
            Arc::new(TimestampMicrosecondArray::from(column(|e| e.watermark))),
        ],
    )
    .unwrap()
}

fn sessions() -> Sessions {
    Sessions::new(Spec::new(&schema(), 2, vec![1], GAP * 1_000).unwrap()).unwrap()
}

/// Partitions with rows out of order, some far, and jumps of the watermark.
fn logs(random: &mut Random) -> Vec<Vec<Event>> {
    let mut id = 0;
    let partitions = 1 + random.below(3);
    let keys = [Some("a"), Some("b"), None];
    let partition = |partition| {
        let (mut latest, mut forced, mut now) = (None, i64::MIN, random.below(40));
        let delay = random.below(12);
        let rows = (0..random.below(40)).map(|offset| {
            now += random.below(9);
            let time = now - if random.below(4) == 0 { random.below(45) } else { 0 };
            if random.below(15) == 0 {
                forced = now + random.below(20);
            }
            let watermark = latest.map_or(i64::MIN, |latest: i64| latest - delay).max(forced);
            latest = latest.max(Some(time));
            id += 1;
            let key = keys[random.below(3) as usize];
            Event { id, partition, offset: offset * 3, key, time, watermark }
        });
        rows.collect()
    };
    (0..partitions as i32).map(partition).collect()
}

/// Each row that is not late with its window, and how many are late.
fn brute_force(logs: &[Vec<Event>]) -> (BTreeMap<i64, (i64, i64)>, u64) {
    let mut sessions: Vec<Vec<Event>> = Vec::new();
    let mut late = 0;
    let end = |session: &[Event]| session.iter().map(Event::end).max().unwrap();
    for event in logs.iter().flatten() {
        let joins = |session: &&mut Vec<Event>| {
            let same = session[0].partition == event.partition && session[0].key == event.key;
            same && end(session) > event.watermark && session.iter().any(|e| e.touches(event))
        };
        let joined: Vec<_> = sessions.iter_mut().filter(joins).map(std::mem::take).collect();
        if joined.is_empty() && event.end() <= event.watermark {
            late += 1;
        } else {
            let mut session = joined.concat();
            session.push(event.clone());
            sessions.push(session);
        }
        sessions.retain(|session| !session.is_empty());
    }
    let linked = |one: &Event, other: &Event| {
        one.partition != other.partition
            && one.key == other.key
            && one.touches(other)
            && one.watermark < other.end()
            && other.watermark < one.end()
    };
    let mut at = 0;
    while at < sessions.len() {
        let joins = |other: &Vec<Event>| {
            sessions[at].iter().any(|one| other.iter().any(|other| linked(one, other)))
        };
        match (at + 1..sessions.len()).find(|other| joins(&sessions[*other])) {
            Some(other) => {
                let mut more = sessions.swap_remove(other);
                sessions[at].append(&mut more);
            }
            None => at += 1,
        }
    }
    let mut windows = BTreeMap::new();
    for session in &sessions {
        let window = (session.iter().map(|e| e.time).min().unwrap(), end(session));
        windows.extend(session.iter().map(|event| (event.id, window)));
    }
    (windows, late)
}

fn collect(rows: &[RecordBatch], windows: &mut BTreeMap<i64, (i64, i64)>) {
    for batch in rows {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let time = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            column.as_primitive::<TimestampMicrosecondType>().clone()
        };
        let (start, end) = (time("window_start"), time("window_end"));
        for row in 0..batch.num_rows() {
            let window = (start.value(row), end.value(row));
            assert!(windows.insert(ids.value(row), window).is_none(), "a row twice");
            assert_eq!(time("window_time").value(row), window.1 - 1_000);
        }
    }
}

/// Through `Sessions` by random cuts of the partitions, closed and saved in between.
fn run(logs: &[Vec<Event>], random: &mut Random) -> (BTreeMap<i64, (i64, i64)>, u64) {
    let mut state = sessions();
    let (mut next, mut late) = (vec![0; logs.len()], 0);
    let mut windows = BTreeMap::new();
    while next.iter().zip(logs).any(|(next, log)| *next < log.len()) {
        let mut batches = Vec::new();
        for (log, next) in logs.iter().zip(&mut next) {
            let end = (*next + random.below(8) as usize).min(log.len());
            let cut = *next + random.below((end - *next) as u64 + 1) as usize;
            // In the wrong order, which the offsets put right.
            batches.extend([batch(&log[cut..end]), batch(&log[*next..cut])]);
            *next = end;
        }
        state.push(batches).unwrap();
        // What comes next has a watermark as far as this at least.
        let ahead = logs.iter().zip(&next).filter_map(|(log, next)| log.get(*next));
        let watermark = ahead.map(|event| event.watermark).min().unwrap_or(i64::MAX);
        let watermark = if random.below(3) == 0 { watermark.saturating_sub(7) } else { watermark };
        let closed = state.close(watermark).unwrap();
        let mut ended = BTreeMap::new();
        collect(&closed, &mut ended);
        assert!(ended.values().all(|(_, end)| *end <= watermark));
        windows.extend(ended);
        if state.rows > 0 {
            assert!(state.open_until().unwrap() > watermark);
        }
        if random.below(4) == 0 {
            let saved = state.save().unwrap();
            assert_eq!(saved.iter().map(RecordBatch::num_rows).sum::<usize>(), state.rows);
            late += state.late;
            state = sessions();
            state.restore(saved).unwrap();
            assert_eq!(state.late, 0);
        }
    }
    if let Some(until) = state.open_until() {
        collect(&state.close(until - 1).unwrap(), &mut windows);
        assert!(state.rows > 0);
        collect(&state.close(until).unwrap(), &mut windows);
    }
    assert_eq!((state.rows, state.open_until(), state.bytes()), (0, None, 0));
    (windows, late + state.late)
}

#[test]
fn any_cuts_give_what_a_search_through_all_pairs_gives() {
    let mut late = 0;
    for seed in 0..600 {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let logs = logs(&mut random);
        let want = brute_force(&logs);
        for _ in 0..3 {
            assert_eq!(run(&logs, &mut random), want, "seed {seed}");
        }
        let mut whole = sessions();
        whole.push(logs.iter().map(|log| batch(log)).collect()).unwrap();
        let mut windows = BTreeMap::new();
        collect(&whole.close(i64::MAX).unwrap(), &mut windows);
        assert_eq!((windows, whole.late), want, "seed {seed} as a batch");
        late += whole.late;
    }
    assert!(late > 100, "the cases are too easy: {late} late rows");
}

#[test]
fn order_does_not_matter_without_a_watermark() {
    let mut random = Random(ChaCha8Rng::seed_from_u64(7));
    let time = DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into()));
    let schema = Arc::new(Schema::new(vec![Field::new("ts", time.clone(), true)]));
    let spec = Spec::new(&schema, 0, Vec::new(), 10_000_000_000).unwrap();
    let times: Vec<i64> = (0..20_000).map(|_| random.below(150_000)).collect();
    let mut state = Sessions::new(spec).unwrap();
    for times in times.chunks(100) {
        let column = arrow::compute::cast(&Int64Array::from(times.to_vec()), &time).unwrap();
        state.push(vec![RecordBatch::try_new(schema.clone(), vec![column]).unwrap()]).unwrap();
    }
    let rows = state.close(i64::MAX).unwrap();
    let mut sorted = times;
    sorted.sort_unstable();
    let sessions = sorted.chunk_by(|one, next| next - one <= 10);
    let want: Vec<_> = sessions
        .flat_map(|rows| {
            rows.iter().map(|_| (rows[0] * 1_000, rows[rows.len() - 1] * 1_000 + 10_000))
        })
        .collect();
    let mut got = Vec::new();
    for batch in &rows {
        let column = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            let ticks = arrow::compute::cast(column, &DataType::Int64).unwrap();
            ticks.as_primitive::<Int64Type>().values().to_vec()
        };
        got.extend(column("window_start").into_iter().zip(column("window_end")));
    }
    assert_eq!(got, want);
    assert_eq!(state.batches.len(), 0);
}

#[test]
fn what_stays_is_small() {
    let mut state = sessions();
    let event = |id: i64| Event {
        id,
        partition: 0,
        offset: id,
        key: Some("a"),
        time: id * 20,
        watermark: (id - 3) * 20,
    };
    for id in 0..40_000 {
        state.push(vec![batch(&[event(id)])]).unwrap();
        state.close((id - 2) * 20).unwrap();
        assert!(state.rows <= 3 && state.stored_rows <= 8192 && state.batches.len() <= 66);
    }
    assert_eq!(state.late, 0);
    assert_eq!(state.due.len(), 1);
}
