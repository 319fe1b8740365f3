//! From a recording to one command buffer, command by command, in order.

use std::ops::Range;
use std::sync::Arc;

use super::context::Context;
use super::pipeline::{Pipeline, Pipelines};
use super::pool::Pooled;
use super::ring::{Home, Lease, Readback, Readbacks};
use super::stamps::{Clocks, Kind, Stamps};
use crate::error::DeviceError;
use crate::record::{Access, Buffer, Command, Program, Recording, Staging};

/// A recording ready to be submitted.
pub struct Encoded {
    pub encoder: wgpu::CommandEncoder,
    /// Staging buffers that the encoder copies from, to be mapped again.
    pub staged: Vec<(wgpu::Buffer, Home)>,
    pub readback: Option<Readback>,
    /// Bytes of the readback buffer that answer each download.
    pub downloads: Vec<Range<u64>>,
    pub stamps: Option<Stamps>,
    /// Pipelines of which this is the first use.
    pub pipelines_made: u64,
}

/// The way from here to there, for one context.
pub struct Encoding<'a> {
    pub context: &'a Context,
    pub pipelines: &'a Pipelines,
    pub readbacks: &'a Readbacks,
    pub clocks: &'a Clocks,
    pub pipelines_made: u64,
}

impl Encoding<'_> {
    /// Encodes all commands of a checked recording.
    pub fn encode(&mut self, recording: Recording) -> Result<Encoded, DeviceError> {
        let steps = self.prepare(recording.commands)?;
        let stamps = self.clocks.stamps(self.context, steps.iter().map(Step::kind));
        let (downloads, bytes) = place_downloads(&steps);
        let stamp_bytes = stamps.as_ref().map_or(0, Stamps::bytes);
        let readback = match bytes + stamp_bytes {
            0 => None,
            bytes => Some(self.readbacks.take(self.context, bytes)?),
        };
        let label = Some(recording.label.as_str());
        let encoder =
            self.context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let (staged, pipelines_made) = (Vec::new(), self.pipelines_made);
        let mut encoded = Encoded { encoder, staged, readback, downloads, stamps, pipelines_made };
        encoded.write(steps);
        encoded.resolve_stamps(bytes);
        Ok(encoded)
    }

    fn prepare(&mut self, commands: Vec<Command>) -> Result<Vec<Step>, DeviceError> {
        commands.into_iter().map(|command| self.step(command)).collect()
    }

    fn step(&mut self, command: Command) -> Result<Step, DeviceError> {
        Ok(match command {
            Command::Upload { from, bytes, to, at } => {
                let (from, home) = lease(from)?.unmap().ok_or_else(|| foreign("staging"))?;
                Step::Upload { from, home, bytes, to: self.own(&to)?, at }
            }
            Command::Clear { buffer, range } => Step::Clear { buffer: self.own(&buffer)?, range },
            Command::Copy { from, from_at, to, to_at, bytes } => {
                Step::Copy { from: self.own(&from)?, from_at, to: self.own(&to)?, to_at, bytes }
            }
            Command::Dispatch { program, bindings, groups } => {
                self.dispatch(&program, &bindings, groups)?
            }
            Command::Download { buffer, range } => {
                Step::Download { buffer: self.own(&buffer)?, range }
            }
        })
    }

    fn dispatch(
        &mut self,
        program: &Program,
        bindings: &[Buffer],
        groups: u32,
    ) -> Result<Step, DeviceError> {
        let (pipeline, made) = self.pipelines.get(self.context, program)?;
        self.pipelines_made += u64::from(made);
        let bound =
            bindings.iter().map(|buffer| self.own(buffer)).collect::<Result<Vec<_>, _>>()?;
        let mut given = bound.iter();
        let bindings = program.code.bindings.iter();
        let buffers = bindings.filter_map(|access| match access {
            Access::View(of) => bound.get(usize::from(*of)),
            Access::Read | Access::ReadWrite => given.next(),
        });
        let entries: Vec<_> = buffers
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = self.context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&program.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let (x, y) = layout_groups(groups, self.context.max_groups_per_dimension);
        Ok(Step::Dispatch { pipeline, group, x, y })
    }

    /// The wgpu buffer behind a handle, if it is of this context.
    fn own(&self, buffer: &Buffer) -> Result<wgpu::Buffer, DeviceError> {
        let pooled = buffer.handle.downcast_ref::<Pooled>().ok_or_else(|| foreign("buffer"))?;
        if pooled.context_id() != self.context.id {
            return Err(foreign("buffer"));
        }
        Ok(pooled.buffer.clone())
    }
}

/// A command with everything looked up.
enum Step {
    Upload { from: wgpu::Buffer, home: Home, bytes: u64, to: wgpu::Buffer, at: u64 },
    Clear { buffer: wgpu::Buffer, range: Range<u64> },
    Copy { from: wgpu::Buffer, from_at: u64, to: wgpu::Buffer, to_at: u64, bytes: u64 },
    Dispatch { pipeline: Arc<Pipeline>, group: wgpu::BindGroup, x: u32, y: u32 },
    Download { buffer: wgpu::Buffer, range: Range<u64> },
}

impl Step {
    fn kind(&self) -> Kind {
        match self {
            Self::Upload { .. } => Kind::Upload,
            Self::Clear { .. } | Self::Copy { .. } | Self::Dispatch { .. } => Kind::Kernel,
            Self::Download { .. } => Kind::Download,
        }
    }
}

impl Encoded {
    fn write(&mut self, steps: Vec<Step>) {
        let mut steps = steps.into_iter().peekable();
        let mut download = 0;
        let mut at_step = 0;
        while let Some(step) = steps.next() {
            self.stamp(at_step);
            at_step += 1;
            match step {
                Step::Upload { from, home, bytes, to, at } => {
                    self.encoder.copy_buffer_to_buffer(&from, 0, &to, at, bytes);
                    self.staged.push((from, home));
                }
                Step::Clear { buffer, range } => {
                    let bytes = range.end - range.start;
                    self.encoder.clear_buffer(&buffer, range.start, Some(bytes));
                }
                Step::Copy { from, from_at, to, to_at, bytes } => {
                    self.encoder.copy_buffer_to_buffer(&from, from_at, &to, to_at, bytes);
                }
                Step::Dispatch { pipeline, group, x, y } => {
                    // Dispatches in a row share a pass.
                    let mut pass = self.encoder.begin_compute_pass(&Default::default());
                    run(&mut pass, &pipeline, &group, x, y);
                    while let Some(Step::Dispatch { pipeline, group, x, y }) =
                        steps.next_if(|next| matches!(next, Step::Dispatch { .. }))
                    {
                        run(&mut pass, &pipeline, &group, x, y);
                        at_step += 1;
                    }
                }
                Step::Download { buffer, range } => {
                    if let Some(readback) = &self.readback {
                        let Range { start, end } = self.downloads[download].clone();
                        self.encoder.copy_buffer_to_buffer(
                            &buffer,
                            range.start,
                            &readback.buffer,
                            start,
                            end - start,
                        );
                    }
                    download += 1;
                }
            }
        }
        self.stamp(at_step);
    }

    fn stamp(&mut self, step: usize) {
        if let Some(stamps) = &mut self.stamps {
            stamps.write(&mut self.encoder, step);
        }
    }

    /// Brings the stamps to the readback buffer, behind the downloads.
    fn resolve_stamps(&mut self, at: u64) {
        if let (Some(stamps), Some(readback)) = (&mut self.stamps, &self.readback) {
            stamps.resolve(&mut self.encoder, &readback.buffer, at);
        }
    }
}

fn run(
    pass: &mut wgpu::ComputePass<'_>,
    pipeline: &Pipeline,
    group: &wgpu::BindGroup,
    x: u32,
    y: u32,
) {
    if x == 0 {
        return;
    }
    pass.set_pipeline(&pipeline.compute);
    pass.set_bind_group(0, group, &[]);
    pass.dispatch_workgroups(x, y, 1);
}

/// Where in the readback buffer each download goes, and the bytes of them all. Starts are
/// multiples of eight, as mapping and timestamps want them.
fn place_downloads(steps: &[Step]) -> (Vec<Range<u64>>, u64) {
    let mut next = 0;
    let mut placed = Vec::new();
    for step in steps {
        if let Step::Download { range, .. } = step {
            let bytes = range.end - range.start;
            placed.push(next..next + bytes);
            next = (next + bytes).next_multiple_of(8);
        }
    }
    (placed, next)
}

/// `groups` workgroups as columns and rows, none above `most`; surplus below one row count.
fn layout_groups(groups: u32, most: u32) -> (u32, u32) {
    if groups <= most {
        return (groups, 1);
    }
    let rows = groups.div_ceil(most);
    (groups.div_ceil(rows), rows)
}

fn lease(staging: Staging) -> Result<Lease, DeviceError> {
    staging.handle.downcast::<Lease>().map(|lease| *lease).map_err(|_| foreign("staging"))
}

fn foreign(what: &str) -> DeviceError {
    DeviceError::Validation(format!("a {what} of another device context in a recording"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_laid_out_with_little_surplus() {
        for groups in [0, 1, 65_535, 65_536, 65_537, 131_071, 1_000_003, u32::MAX] {
            let (x, y) = layout_groups(groups, 65_535);
            assert!(x <= 65_535 && y <= 65_538, "{groups}");
            let laid = u64::from(x) * u64::from(y);
            assert!(laid >= u64::from(groups) && laid - u64::from(groups) < u64::from(y.max(2)));
        }
        assert_eq!(layout_groups(65_535, 65_535), (65_535, 1));
    }
}
