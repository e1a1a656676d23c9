//! `inferno doctor`: what this machine can compute with.

use anyhow::Result;
use inferno_cpu::Isa;

use crate::commands::bench::Machine;
use crate::{commands::print, load};

pub(crate) fn doctor() -> Result<()> {
    let machine = Machine::found();
    let sets: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    let mut text = format!(
        "processor  {}, {} cores\n           `--isa` {} (default: {})\n",
        machine.cpu,
        machine.n_cores,
        sets.join(", "),
        Isa::best(),
    );
    let mut head = "GPUs";
    let devices = load::devices();
    let none = ["none that can be used through Vulkan, Metal or DX12, or no driver for it".to_owned()];
    for line in if devices.is_empty() { &none[..] } else { &devices } {
        text += &format!("{head:<9}  {line}\n");
        head = "";
    }
    print(text.as_bytes())
}
