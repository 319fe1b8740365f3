//! Which slot pulls, encodes, computes, downloads now: a pure state machine, no wgpu, no clock.
