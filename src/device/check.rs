//! What must hold for every recording, whoever plays it: ranges inside their buffers, whole words,
//! as many buffers as the program binds, none bound twice. A violation is our own mistake and
//! told as `Validation`, alike on both players.

use std::ops::Range;
use std::sync::Arc;

use super::player::Capabilities;
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Program, Recording};

pub(super) fn check(recording: &Recording, limits: &Capabilities) -> Result<(), DeviceError> {
    for (at, command) in recording.commands.iter().enumerate() {
        check_command(command, limits).map_err(|why| {
            DeviceError::Validation(format!("{}, command {at}: {why}", recording.label))
        })?;
    }
    Ok(())
}

fn check_command(command: &Command, limits: &Capabilities) -> Result<(), String> {
    match command {
        Command::Upload { from, bytes, to, at } => {
            inside("staging", &(0..*bytes), from.bytes)?;
            inside("upload", &(*at..at.saturating_add(*bytes)), to.bytes)
        }
        Command::Clear { buffer, range } => inside("clear", range, buffer.bytes),
        Command::Copy { from, from_at, to, to_at, bytes } => {
            if same(from, to) {
                return Err("a copy within one buffer".into());
            }
            inside("copy from", &(*from_at..from_at.saturating_add(*bytes)), from.bytes)?;
            inside("copy to", &(*to_at..to_at.saturating_add(*bytes)), to.bytes)
        }
        Command::Dispatch { program, bindings, .. } => check_bindings(program, bindings, limits),
        Command::Download { buffer, range } => inside("download", range, buffer.bytes),
    }
}

fn check_bindings(
    program: &Program,
    bindings: &[Buffer],
    limits: &Capabilities,
) -> Result<(), String> {
    let label = &program.label;
    let (given, wanted) = (bindings.len(), program.code.buffers());
    if given != wanted {
        return Err(format!("'{label}' binds {wanted} buffers, {given} are given"));
    }
    let (all, most) = (program.code.bindings.len(), limits.max_bindings);
    if all > most as usize {
        return Err(format!("'{label}' has {all} bindings, at most {most} here"));
    }
    for (at, buffer) in bindings.iter().enumerate() {
        if let Some(other) = bindings[..at].iter().position(|other| same(other, buffer)) {
            return Err(format!("'{label}' binds one buffer twice, as {other} and as {at}"));
        }
        if buffer.bytes > limits.max_binding_bytes {
            let (bytes, most) = (buffer.bytes, limits.max_binding_bytes);
            return Err(format!("'{label}' binds {bytes} bytes as {at}, at most {most} here"));
        }
    }
    Ok(())
}

fn inside(what: &str, range: &Range<u64>, bytes: u64) -> Result<(), String> {
    let Range { start, end } = range;
    if start % 4 != 0 || end % 4 != 0 {
        return Err(format!("{what} of bytes {start}..{end}: not whole words"));
    }
    if start > end || *end > bytes {
        return Err(format!("{what} of bytes {start}..{end} in a buffer of {bytes}"));
    }
    Ok(())
}

/// Both are clones of one buffer.
pub(super) fn same(a: &Buffer, b: &Buffer) -> bool {
    Arc::as_ptr(&a.handle).cast::<()>() == Arc::as_ptr(&b.handle).cast::<()>()
}
