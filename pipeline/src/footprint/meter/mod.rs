//! Energy: meters where there are some, models where there are none.
//!
//! | first that works | label |
//! | --- | --- |
//! | readings of a power meter, `--power-file` | measured |
//! | counters of the processor (powercap), our share by CPU time | measured |
//! | CPU seconds by watts per thread of the processor family | estimated |
//! | CPU seconds by thermal design power over threads, not in a guest | estimated |
//! | CPU seconds by 2 W (0.5 to 6) | assumed |
//!
//! Two figures each: *dynamic*, what was drawn because of us, and *provisioned*, with a share of what the machine draws when
//! idle. Counters by `perf_event_open` are not read: this crate has no unsafe code, and what they count is what powercap counts.

mod model;
mod nvml;
mod power_file;
mod powercap;
mod sensors;
#[cfg(test)]
mod tests;

pub use model::{Energy, GpuEnergy, Load, ModelSettings, Readings, embodied_g, energy};
pub use nvml::GpuMeter;
pub use power_file::PowerFile;
pub use powercap::{Powercap, PowercapEnergy};
pub use sensors::{Sensor, SensorState, sensors};
