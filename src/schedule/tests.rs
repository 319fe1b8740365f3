//! The properties of the module's docs, under random orders of events.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// Work under way outside of the schedule, as its driver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Pull(Slot),
    Encode(Slot),
    Submit(Slot),
    Emit(Slot),
}

/// A driver that ends its work in any order and writes down what it was told.
struct Driver {
    schedule: Schedule,
    slots: usize,
    left: usize,
    next_batch: usize,
    work: Vec<Work>,
    /// The batch in each slot.
    inside: HashMap<Slot, usize>,
    submitted: Vec<usize>,
    emitted: Vec<usize>,
    drains: usize,
    finishes: usize,
}

impl Driver {
    fn new(slots: usize, batches: usize) -> Self {
        let (schedule, actions) = Schedule::new(slots);
        let mut driver = Self {
            schedule,
            slots,
            left: batches,
            next_batch: 0,
            work: Vec::new(),
            inside: HashMap::new(),
            submitted: Vec::new(),
            emitted: Vec::new(),
            drains: 0,
            finishes: 0,
        };
        driver.obey(actions);
        driver
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert_eq!(self.finishes, 0, "{action:?} after the end");
            match action {
                Action::Pull(slot) => self.start(Work::Pull(slot)),
                Action::Encode(slot) => self.start(Work::Encode(slot)),
                Action::Submit(slot) => {
                    self.submitted.push(self.inside[&slot]);
                    self.start(Work::Submit(slot));
                }
                Action::Emit(slot) => self.start(Work::Emit(slot)),
                Action::Drain => self.drains += 1,
                Action::Finish => self.finishes += 1,
            }
        }
    }

    fn start(&mut self, work: Work) {
        assert_eq!(self.drains, 0, "{work:?} after a failure");
        self.work.push(work);
        let pulls = self.work.iter().filter(|work| matches!(work, Work::Pull(_))).count();
        let emits = self.work.iter().filter(|work| matches!(work, Work::Emit(_))).count();
        assert!(pulls <= 1 && emits <= 1, "{:?}", self.work);
    }

    /// Ends one piece of work, chosen by `choice`, well or with a failure.
    fn end_one(&mut self, choice: usize, fails: bool) {
        assert!(!self.work.is_empty(), "nothing is under way, and no end was told");
        let work = self.work.swap_remove(choice % self.work.len());
        let (slot, event) = match work {
            Work::Pull(slot) if self.left == 0 => (slot, Event::InputEnded),
            Work::Pull(slot) => {
                if !fails {
                    self.left -= 1;
                    assert_eq!(self.inside.insert(slot, self.next_batch), None, "not free");
                    self.next_batch += 1;
                }
                (slot, Event::BatchPulled)
            }
            Work::Encode(slot) => (slot, Event::Encoded(slot)),
            Work::Submit(slot) => (slot, Event::Completed(slot)),
            Work::Emit(slot) => {
                if !fails {
                    self.emitted.extend(self.inside.remove(&slot));
                }
                (slot, Event::Emitted(slot))
            }
        };
        let event = if fails { Event::Failed(slot) } else { event };
        let actions = self.schedule.on(event).unwrap();
        self.obey(actions);
        assert!(self.inside.len() <= self.slots);
    }
}

proptest! {
    #[test]
    fn every_batch_leaves_once_and_in_order(
        slots in 1usize..6,
        batches in 0usize..30,
        mut choices in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let mut driver = Driver::new(slots, batches);
        // Four ends per batch and the end of the input.
        for _ in 0..batches * 4 + 1 {
            choices.rotate_left(1);
            driver.end_one(choices[0], false);
        }
        let all: Vec<usize> = (0..batches).collect();
        prop_assert_eq!(&driver.submitted, &all);
        prop_assert_eq!(&driver.emitted, &all);
        prop_assert_eq!((driver.finishes, driver.drains), (1, 0));
        prop_assert!(driver.work.is_empty() && !driver.schedule.has_failed());
    }

    #[test]
    fn a_failure_drains(
        slots in 1usize..6,
        batches in 0usize..30,
        mut choices in prop::collection::vec(any::<usize>(), 1..50),
        fails_at in 0usize..80,
        fails_again in any::<bool>(),
    ) {
        let mut driver = Driver::new(slots, batches);
        let mut step = 0;
        while driver.finishes == 0 {
            choices.rotate_left(1);
            driver.end_one(choices[0], step == fails_at || (step > fails_at && fails_again));
            step += 1;
        }
        prop_assert!(driver.work.is_empty(), "{:?}", driver.work);
        let failed = step > fails_at;
        prop_assert_eq!(driver.schedule.has_failed(), failed);
        prop_assert_eq!(driver.drains, usize::from(failed));
        // What left did so in order, without a gap.
        let left: Vec<usize> = (0..driver.emitted.len()).collect();
        prop_assert_eq!(&driver.emitted, &left);
    }

    #[test]
    fn no_order_of_events_breaks_it(
        events in prop::collection::vec((0usize..6, 0usize..4), 0..60),
    ) {
        let (mut schedule, _) = Schedule::new(3);
        for (kind, slot) in events {
            let event = match kind {
                0 => Event::BatchPulled,
                1 => Event::InputEnded,
                2 => Event::Encoded(slot),
                3 => Event::Completed(slot),
                4 => Event::Emitted(slot),
                _ => Event::Failed(slot),
            };
            let before = format!("{schedule:?}");
            if let Err(error) = schedule.on(event) {
                prop_assert_eq!(error.event, event);
                prop_assert_eq!(before, format!("{schedule:?}"));
            }
        }
    }
}

#[test]
fn stages_of_different_slots_overlap() {
    let (mut schedule, first) = Schedule::new(3);
    let mut told: VecDeque<Action> = first.into();
    for event in [Event::BatchPulled, Event::Encoded(0), Event::BatchPulled, Event::Encoded(1)] {
        told.extend(schedule.on(event).unwrap());
    }
    let expected = [
        Action::Pull(0),
        Action::Encode(0),
        Action::Pull(1),
        Action::Submit(0),
        Action::Encode(1),
        Action::Pull(2),
        Action::Submit(1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_event_that_answers_nothing_is_refused() {
    let (mut schedule, _) = Schedule::new(2);
    let error = schedule.on(Event::Completed(0)).unwrap_err();
    assert!(error.to_string().contains("Completed(0)"));
    assert!(schedule.on(Event::Failed(7)).is_err());
    assert_eq!(schedule.on(Event::InputEnded), Ok(vec![Action::Finish]));
    assert!(schedule.on(Event::InputEnded).is_err());
}
