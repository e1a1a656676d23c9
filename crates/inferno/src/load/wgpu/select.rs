//! The GPUs of this machine, and the ones that the flags select.

use anyhow::{Result, ensure};
use inferno_wgpu::{AdapterError, Choice, Found, Gpu, adapters};

use super::super::{BackendChoice, Compute, GpuLayers};
use crate::commands::note;

/// A line about every GPU.
pub(super) fn devices() -> Vec<String> {
    adapters().iter().enumerate().map(|(i, found)| describe(i, found)).collect()
}

/// The GPUs to use; none if the processor computes.
pub(super) fn gpus(compute: &Compute) -> Result<Vec<Gpu>> {
    let has_wishes =
        compute.device.is_some() || compute.gpu_layers != GpuLayers::Auto || !compute.tensor_split.is_empty();
    let is_asked = compute.backend == BackendChoice::Wgpu || has_wishes;
    ensure!(
        compute.backend != BackendChoice::Cpu || !has_wishes,
        "`--backend cpu` uses no GPU: leave out `--device`, `--gpu-layers` and `--tensor-split`, or the backend"
    );
    if compute.backend == BackendChoice::Cpu || (!is_asked && compute.isa.is_some()) {
        return Ok(Vec::new());
    }
    if !is_asked {
        // What only acts as a GPU is slower than the processor it runs on.
        let Some(found) = adapters().into_iter().find(|f| f.is_gpu() && f.lack.is_none()) else {
            return Ok(Vec::new());
        };
        return opened(Gpu::of(found)).map(Vec::from_iter);
    }
    let split = &compute.tensor_split;
    let choices = match &compute.device {
        Some(device) => several(device),
        None if split.len() > 1 => (0..split.len()).map(Choice::Index).collect(),
        None => vec![Choice::Best],
    };
    ensure!(
        split.is_empty() || split.len() == choices.len(),
        "`--tensor-split` has a share for each of {} GPUs, but `--device` names {}",
        split.len(),
        choices.len()
    );
    ensure!(split.is_empty() || split.iter().sum::<f32>() > 0.0, "`--tensor-split` gives no GPU a share");
    let mut gpus = Vec::new();
    for choice in &choices {
        match opened(Gpu::open(choice))? {
            Some(gpu) => gpus.push(gpu),
            None => return Ok(Vec::new()),
        }
    }
    Ok(gpus)
}

/// The GPUs that the flags name, or all of this machine. Software that acts as a GPU counts where GPUs are asked for.
pub(super) fn all_gpus(compute: &Compute) -> Result<Vec<Gpu>> {
    let is_asked = compute.backend == BackendChoice::Wgpu;
    if compute.device.is_some() || compute.backend == BackendChoice::Cpu {
        return gpus(compute);
    }
    if !is_asked && compute.isa.is_some() {
        return Ok(Vec::new());
    }
    let all = adapters().into_iter().filter(|f| f.lack.is_none() && (is_asked || f.is_gpu()));
    let opened: Result<Vec<Option<Gpu>>> = all.map(|found| opened(Gpu::of(found))).collect();
    Ok(opened?.into_iter().flatten().collect())
}

/// A device by number or a part of its name, or several by number: a name may have commas too.
fn several(device: &str) -> Vec<Choice> {
    match device.split(',').map(|part| part.trim().parse().ok()).collect::<Option<Vec<usize>>>() {
        Some(indices) => indices.into_iter().map(Choice::Index).collect(),
        None => vec![device.parse().unwrap_or_default()],
    }
}

/// The GPU; `None` if it cannot be opened, which is said.
fn opened(gpu: Result<Gpu, AdapterError>) -> Result<Option<Gpu>> {
    match gpu {
        Ok(gpu) => Ok(Some(gpu)),
        Err(e @ AdapterError::Unknown { .. }) => Err(e.into()),
        Err(e) => {
            note(&format!("warning: {e}: the processor computes instead"));
            Ok(None)
        }
    }
}

fn describe(index: usize, found: &Found) -> String {
    let features = found.features().join(", ");
    let mut line = format!(
        "{index}  {} ({}, {}; {}{} MiB in a buffer{}{features})",
        found.name(),
        found.kind(),
        found.driver(),
        found
            .free_bytes()
            .map_or(String::new(), |free| format!("{:.1} GiB free, ", free as f64 / f64::from(1 << 30))),
        found.binding_bytes() >> 20,
        if features.is_empty() { "" } else { "; " },
    );
    if let Some(lack) = &found.lack {
        line += &format!(": cannot run models, {lack}");
    }
    line
}
