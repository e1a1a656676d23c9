//! Kernels that are ready to run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::device::{Gpu, IMMEDIATE_BYTES, Storage};
use crate::kernels::params::Member;
use crate::kernels::{Bindings, Halves, Kernel};

/// A kernel that is ready to run.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) bindings: Bindings,
    /// Of its parameters.
    pub(crate) members: &'static [Member],
    pub(crate) name: &'static str,
}

impl Pipeline {
    /// Its buffers, in order.
    pub(crate) fn bind<'a>(&self, gpu: &Gpu, buffers: impl Iterator<Item = &'a Storage>) -> wgpu::BindGroup {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
            .zip(0..)
            .map(|(b, binding)| wgpu::BindGroupEntry { binding, resource: b.buffer.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        gpu.device.create_bind_group(&descriptor)
    }
}

/// A kernel once it is compiled; `None` of one that the driver refused.
type Entry = Arc<OnceLock<Option<Arc<Pipeline>>>>;

/// Kernels that were compiled for a device, and what they were found to do, for all backends on it.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pipelines: Mutex<HashMap<(Halves, Kernel), Entry>>,
    layouts: Mutex<HashMap<Bindings, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>>,
    /// Whether the device's cooperative matrices attend rightly, once that is known.
    pub(crate) attends: OnceLock<bool>,
}

impl Compiled {
    /// The kernel, which `compile` makes if no backend has yet. Others wait for it; other kernels are compiled meanwhile.
    fn get(
        &self,
        key: (Halves, Kernel),
        compile: impl FnOnce() -> Option<Pipeline>,
    ) -> Option<Arc<Pipeline>> {
        let entry =
            self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        entry.get_or_init(|| compile().map(Arc::new)).clone()
    }

    fn layouts(
        &self,
        device: &wgpu::Device,
        bindings: Bindings,
    ) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let mut all = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(bindings).or_insert_with(|| layouts(device, bindings)).clone()
    }
}

/// The pipelines that a backend has used so far.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    halves: Halves,
    pipelines: HashMap<Kernel, Arc<Pipeline>>,
}

impl Pipelines {
    pub(crate) fn new(halves: Halves) -> Pipelines {
        Pipelines { halves, ..Pipelines::default() }
    }

    /// How many there are.
    pub(crate) fn n(&self) -> usize {
        self.pipelines.len()
    }

    /// The text that a kernel is made of.
    pub(crate) fn text(&self, kernel: Kernel) -> String {
        kernel.source(self.halves).wgsl
    }

    /// Makes one that a driver may refuse: whether it did not.
    pub(crate) fn try_get(&mut self, gpu: &Gpu, kernel: Kernel) -> bool {
        let made = gpu.compiled.get((self.halves, kernel), || {
            let filters =
                [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory];
            let scopes = filters.map(|filter| gpu.device.push_error_scope(filter));
            let pipeline = compile(gpu, self.halves, kernel);
            // The last one was pushed on top.
            let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
            (errors.filter(Option::is_some).count() == 0).then_some(pipeline)
        });
        let is_made = made.is_some();
        if let Some(pipeline) = made {
            self.pipelines.insert(kernel, pipeline);
        }
        is_made
    }

    /// A kernel. An error of the driver goes to [`Gpu::failure`](crate::device::Gpu).
    pub(crate) fn get(&mut self, gpu: &Gpu, kernel: Kernel) -> &Pipeline {
        self.pipelines.entry(kernel).or_insert_with(|| {
            let made = gpu.compiled.get((self.halves, kernel), || Some(compile(gpu, self.halves, kernel)));
            // One that was refused, without another in its place: compiled once more, so that its error is the step's.
            made.unwrap_or_else(|| Arc::new(compile(gpu, self.halves, kernel)))
        })
    }
}

fn compile(gpu: &Gpu, halves: Halves, kernel: Kernel) -> Pipeline {
    let source = kernel.source(halves);
    let (layout, pipeline_layout) = gpu.compiled.layouts(&gpu.device, source.bindings);
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(source.name),
        source: wgpu::ShaderSource::Wgsl(source.wgsl.into()),
    };
    let module = module(&gpu.device, descriptor);
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(source.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: gpu.pipelines.as_ref().map(|file| &file.cache),
    });
    Pipeline { pipeline, layout, bindings: source.bindings, members: source.members, name: source.name }
}

/// With every check in debug builds, so that tests would find a read or a write past an end.
pub(crate) fn module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
) -> wgpu::ShaderModule {
    if cfg!(debug_assertions) {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the text is ours; its reads and writes are within its buffers, its loops end and its divisors are not zero.
    // Tests run the same text with checks.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

fn layouts(device: &wgpu::Device, bindings: Bindings) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..u32::from(bindings.n))
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: !bindings.is_written(binding as usize) },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
    let layout = device.create_bind_group_layout(&descriptor);
    let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: IMMEDIATE_BYTES,
    });
    (layout, pipeline)
}
