//! From linked WGSL to pipelines, each made once per context; errors told by shader file and line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::context::Context;
use crate::error::DeviceError;
use crate::record::{Access, Code, Program, place};
use crate::trace;

/// A kernel ready to be dispatched.
pub struct Pipeline {
    pub compute: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Pipelines kept; above it the one unused for longest goes. A query has ten or so.
const MAX_PIPELINES: usize = 512;

/// The pipelines of one context, by code, for all of its threads.
#[derive(Default)]
pub struct Pipelines {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// With the number of the use that was the last so far.
    entries: HashMap<Arc<Code>, (Arc<Entry>, u64)>,
    uses: u64,
}

/// A pipeline, once it is made.
#[derive(Default)]
pub struct Entry {
    made: OnceLock<Result<Arc<Pipeline>, DeviceError>>,
    used: AtomicBool,
}

impl Entry {
    /// The pipeline, compiled (20 to 300 ms) by the first thread that asks for it. Others wait.
    pub fn make(&self, context: &Context, program: &Program) -> Result<Arc<Pipeline>, DeviceError> {
        self.made.get_or_init(|| compile(context, program).map(Arc::new)).clone()
    }
}

impl Pipelines {
    /// The pipeline of `program`, and whether it was made for this use, or ahead of it.
    pub fn get(
        &self,
        context: &Context,
        program: &Program,
    ) -> Result<(Arc<Pipeline>, bool), DeviceError> {
        let (entry, _) = self.entry(program);
        match entry.make(context, program) {
            Ok(pipeline) => Ok((pipeline, !entry.used.swap(true, Ordering::Relaxed))),
            Err(error) => {
                // Whoever tries again may have more luck.
                self.kept.lock().entries.remove(&program.code);
                Err(error)
            }
        }
    }

    /// The entry of a program that was not known until now, to be made.
    pub fn enter(&self, program: &Program) -> Option<Arc<Entry>> {
        let (entry, new) = self.entry(program);
        new.then_some(entry)
    }

    fn entry(&self, program: &Program) -> (Arc<Entry>, bool) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        kept.uses += 1;
        if let Some((entry, used)) = kept.entries.get_mut(&program.code) {
            *used = kept.uses;
            return (Arc::clone(entry), false);
        }
        if kept.entries.len() >= MAX_PIPELINES {
            let oldest = kept.entries.iter().min_by_key(|(_, (_, used))| used);
            if let Some(code) = oldest.map(|(code, _)| Arc::clone(code)) {
                kept.entries.remove(&code);
            }
        }
        let entry = Arc::new(Entry::default());
        kept.entries.insert(Arc::clone(&program.code), (Arc::clone(&entry), kept.uses));
        (entry, true)
    }
}

pub fn compile(context: &Context, program: &Program) -> Result<Pipeline, DeviceError> {
    let _span = trace::span(trace::Kind::Compile, &program.label);
    let module = module(context, program)?;
    let told = |error| match error {
        DeviceError::Validation(text) => {
            DeviceError::Validation(format!("kernel '{}': {text}", program.label))
        }
        other => other,
    };
    context
        .validated(|| {
            let device = &context.device;
            let layout = layout(device, program);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&program.label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&program.label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Kernels initialise what they read.
                    zero_initialize_workgroup_memory: false,
                },
                cache: context.cache.as_ref().map(|cache| &cache.handle),
            });
            if let Some(cache) = &context.cache {
                cache.made();
            }
            Pipeline { compute, layout }
        })
        .map_err(told)
}

/// The explicit layout of bind group 0: an automatic one would drop what a variant does not use.
fn layout(device: &wgpu::Device, program: &Program) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = program
        .code
        .bindings
        .iter()
        .zip(0..)
        .map(|(access, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: *access != Access::ReadWrite },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(&program.label),
        entries: &entries,
    })
}

fn module(context: &Context, program: &Program) -> Result<wgpu::ShaderModule, DeviceError> {
    let text = wgpu::ShaderModuleDescriptor {
        label: Some(&program.label),
        source: wgpu::ShaderSource::Wgsl(program.code.wgsl.as_str().into()),
    };
    let scope = context.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = if context.checked {
        context.device.create_shader_module(text)
    } else {
        let checks = wgpu::ShaderRuntimeChecks {
            bounds_checks: false,
            force_loop_bounding: false,
            // Without it x / 0 and MIN / -1 are whatever the hardware leaves.
            int_div_checks: true,
            ..wgpu::ShaderRuntimeChecks::checked()
        };
        // SAFETY: the text is ours, parts reviewed and generated; kernels bound every index by
        // row or slot counts and every loop by a cap. Robust buffer access stays on in the
        // driver, and THALWEG_CHECKED=1 brings naga's own checks back.
        unsafe { context.device.create_shader_module_trusted(text, checks) }
    };
    match pollster::block_on(scope.pop()) {
        None => Ok(module),
        Some(error) => {
            context.health.check()?;
            let told = explain(program, &module).unwrap_or_else(|| error.to_string());
            Err(DeviceError::Validation(format!("kernel '{}': {told}", program.label)))
        }
    }
}

/// naga's message with the place in the part's own file.
fn explain(program: &Program, module: &wgpu::ShaderModule) -> Option<String> {
    let info = pollster::block_on(module.get_compilation_info());
    let message = info.messages.into_iter().next()?;
    // The first line says what; those with "=" why; the rest quotes the linked text by numbers
    // that nobody has on disk.
    let mut lines = message.message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let what = first.split_once(" error: ").map_or(first, |(_, what)| what);
    let why: Vec<&str> = lines.filter_map(|line| line.strip_prefix("= ")).collect();
    let told_line = message.location.map(|location| location.line_number as usize);
    let place = match underlined_line(&message.message).or(told_line) {
        Some(line) => place(&program.parts, line),
        None => "somewhere".into(),
    };
    let mut told = format!("{place}: {what}");
    if !why.is_empty() {
        told = format!("{told} ({})", why.join("; "));
    }
    Some(told)
}

/// The line that naga's quotation underlines within itself. naga's own location is the whole
/// function where an expression in it is wrong.
fn underlined_line(message: &str) -> Option<usize> {
    let mut quoted = None;
    for row in message.lines() {
        if let Some((number, _)) = row.split_once('│')
            && let Ok(number) = number.trim().parse()
        {
            quoted = Some(number);
        } else if row.contains('^') && !row.contains('╰') {
            return quoted;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_mark_wins_over_the_outer() {
        let message = "Shader validation error: bad\n   ┌─ k:11:1\n   │  \n11 │ ╭ fn f() {\n\
                       12 │ │   return 1.5f;\n   │ │          ^^^^ here\n13 │ │ }\n   │ ╰─^ fn";
        assert_eq!(underlined_line(message), Some(12));
        assert_eq!(underlined_line("no quotation"), None);
    }
}
