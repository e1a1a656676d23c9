//! How much memory a device has left: asked of Vulkan or Metal themselves.

/// Bytes that can be had, or nearly; `None` if the driver does not say.
pub(crate) fn free_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    #[cfg(not(target_vendor = "apple"))]
    return vulkan::free_bytes(adapter);
    #[cfg(target_vendor = "apple")]
    return metal::free_bytes(adapter);
}

#[cfg(not(target_vendor = "apple"))]
mod vulkan {
    use ash::{ext, vk};

    /// Of the largest heap of the device's own.
    pub(super) fn free_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
        // SAFETY: nothing of it is destroyed or kept.
        let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
        let (instance, device) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
        // SAFETY: the adapter keeps its instance and its physical device alive.
        let extensions = unsafe { instance.enumerate_device_extension_properties(device) }.ok()?;
        let tells_budget =
            extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(ext::memory_budget::NAME));
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default();
        if tells_budget {
            properties = properties.push_next(&mut budget);
        }
        // SAFETY: wgpu takes devices of Vulkan 1.1 on, which have this; the extension is there if it is asked.
        unsafe { instance.get_physical_device_memory_properties2(device, &mut properties) };
        let heaps = properties.memory_properties.memory_heaps_as_slice().to_vec();
        let own = |heap: &vk::MemoryHeap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
        let (i, largest) = heaps.iter().enumerate().filter(|(_, h)| own(h)).max_by_key(|(_, h)| h.size)?;
        Some(match tells_budget {
            true => budget.heap_budget[i].saturating_sub(budget.heap_usage[i]),
            false => largest.size,
        })
    }
}

#[cfg(target_vendor = "apple")]
mod metal {
    use objc2_metal::MTLDevice;

    pub(super) fn free_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
        // SAFETY: nothing of it is destroyed or kept.
        let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Metal>() }?;
        let device = adapter.raw_device();
        Some(device.recommendedMaxWorkingSetSize().saturating_sub(device.currentAllocatedSize() as u64))
    }
}
