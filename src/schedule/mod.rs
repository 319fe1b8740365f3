//! Which slot pulls, encodes, computes, emits now: a pure state machine, no wgpu, no clock, no I/O.
//!
//! A ring of slots takes batches through the stages in their order:
//!
//! ```text
//!  Free ─► Pulling ─► Encoding ─► Encoded ─► Computing ─► Computed ─► Emitting ─► Free
//!          one at     any number  waits for  any number   waits for   one at
//!          a time     at once     its turn   at once      its turn    a time
//! ```
//!
//! Who drives it tells what happened (`Event`) and does what it answers (`Action`); the machine
//! never waits. Reading back is part of the submit, hence of `Computing`. What holds at any time,
//! in whatever order events come:
//!
//! - at most one pull and one emit are under way; no more batches than slots are inside;
//! - submits and emits are in the order of the pulls, and each batch has one of each;
//! - until `Finish`, something is under way: no event, no wait for ever;
//! - after a failure nothing new starts; `Finish` comes when what was under way has ended.

/// Number of a slot, from 0.
pub type Slot = usize;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The pull brought a batch.
    BatchPulled,
    /// The pull found the end of the input.
    InputEnded,
    Encoded(Slot),
    /// The device has done the slot's submit, readback included.
    Completed(Slot),
    /// The slot's rows have left.
    Emitted(Slot),
    /// The work under way in this slot, whichever it was, ended with an error.
    Failed(Slot),
}

/// What is to be done now; each but the last two is answered by an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the input for a batch, for this slot.
    Pull(Slot),
    Encode(Slot),
    Submit(Slot),
    Emit(Slot),
    /// Something failed: end early what is under way, where that can be. Told once.
    Drain,
    /// All is done: every batch has left, or after a failure nothing is under way any more.
    Finish,
}

/// An event that does not answer any action: a mistake of who drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the schedule was told {event:?}, but nothing of the kind is under way")]
pub struct Unexpected {
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Pulling,
    Encoding,
    /// Behind an earlier slot that is not submitted yet.
    Encoded,
    Computing,
    /// Behind an earlier slot that is not emitted yet.
    Computed,
    Emitting,
}

/// The ring. Slots are used in turn, so that three cursors tell the order of everything.
#[derive(Debug)]
pub struct Schedule {
    slots: Vec<State>,
    /// The slot that pulls now or next.
    pull: Slot,
    /// The slot that is to be submitted next.
    submit: Slot,
    /// The slot that emits now or next.
    emit: Slot,
    ended: bool,
    failed: bool,
    finished: bool,
}

impl Schedule {
    /// A ring of `slots` (at least one), with the first thing to do.
    pub fn new(slots: usize) -> (Self, Vec<Action>) {
        let slots = vec![State::Free; slots.max(1)];
        let mut schedule = Self {
            slots,
            pull: 0,
            submit: 0,
            emit: 0,
            ended: false,
            failed: false,
            finished: false,
        };
        let actions = schedule.advance();
        (schedule, actions)
    }

    /// Whether some slot failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes an event in; returns what to do now, in this order.
    ///
    /// # Errors
    /// `Unexpected` where the event answers no action; the schedule is as before.
    pub fn on(&mut self, event: Event) -> Result<Vec<Action>, Unexpected> {
        let (slot, next) = self.transition(event).ok_or(Unexpected { event })?;
        let first_failure = matches!(event, Event::Failed(_)) && !self.failed;
        self.slots[slot] = next;
        if event == Event::InputEnded {
            self.ended = true;
        }
        if event == Event::BatchPulled {
            self.pull = self.after(slot);
        }
        if let Event::Emitted(_) = event {
            self.emit = self.after(slot);
        }
        let mut actions = Vec::new();
        if first_failure {
            self.failed = true;
            actions.push(Action::Drain);
        }
        if self.failed {
            self.drop_what_waits(slot);
        }
        if event == Event::BatchPulled && !self.failed {
            actions.push(Action::Encode(slot));
        }
        actions.extend(self.advance());
        Ok(actions)
    }

    /// The slot that an event is about and its next state; None where it is not expected.
    fn transition(&self, event: Event) -> Option<(Slot, State)> {
        let (slot, from, to) = match event {
            Event::BatchPulled => (self.pull, State::Pulling, State::Encoding),
            Event::InputEnded => (self.pull, State::Pulling, State::Free),
            Event::Encoded(slot) => (slot, State::Encoding, State::Encoded),
            Event::Completed(slot) => (slot, State::Computing, State::Computed),
            Event::Emitted(slot) => (slot, State::Emitting, State::Free),
            Event::Failed(slot) => {
                let state = self.slots.get(slot)?;
                return is_under_way(*state).then_some((slot, State::Free));
            }
        };
        (self.slots.get(slot) == Some(&from)).then_some((slot, to))
    }

    /// After a failure: the slot whose work just ended is free, and so are those that waited for
    /// their turn, which never comes.
    fn drop_what_waits(&mut self, ended: Slot) {
        self.slots[ended] = State::Free;
        for state in &mut self.slots {
            if !is_under_way(*state) {
                *state = State::Free;
            }
        }
    }

    /// Starts all that can start.
    fn advance(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.failed {
            while self.slots[self.submit] == State::Encoded {
                self.slots[self.submit] = State::Computing;
                actions.push(Action::Submit(self.submit));
                self.submit = self.after(self.submit);
            }
            if self.slots[self.emit] == State::Computed {
                self.slots[self.emit] = State::Emitting;
                actions.push(Action::Emit(self.emit));
            }
            if !self.ended && self.slots[self.pull] == State::Free {
                self.slots[self.pull] = State::Pulling;
                actions.push(Action::Pull(self.pull));
            }
        }
        let idle = self.slots.iter().all(|state| *state == State::Free);
        if idle && !self.finished {
            self.finished = true;
            actions.push(Action::Finish);
        }
        actions
    }

    fn after(&self, slot: Slot) -> Slot {
        (slot + 1) % self.slots.len()
    }
}

/// Whether somebody outside is at work for the slot and will tell its end.
fn is_under_way(state: State) -> bool {
    match state {
        State::Pulling | State::Encoding | State::Computing | State::Emitting => true,
        State::Free | State::Encoded | State::Computed => false,
    }
}

#[cfg(test)]
mod tests;
