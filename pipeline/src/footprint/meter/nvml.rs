//! Energy counters of NVIDIA devices, with feature `nvml`. Without it, or without the library, there are none.

use super::model::GpuEnergy;
use super::sensors::SensorState;

/// The counters of all devices, over a run.
#[derive(Debug)]
pub struct GpuMeter {
    names: Vec<String>,
    inner: Result<inner::Counters, SensorState>,
}

impl GpuMeter {
    /// Finds the devices and reads their counters for the first time.
    pub fn open() -> Self {
        let inner = inner::Counters::open();
        let names = inner.as_ref().map(inner::Counters::names).unwrap_or_default();
        Self { names, inner }
    }

    /// One that finds nothing, for runs that use no device.
    pub fn none() -> Self {
        Self { names: Vec::new(), inner: Err(SensorState::Missing) }
    }

    /// Why there is nothing to read; none if there is.
    pub fn problem(&self) -> Option<&SensorState> {
        self.inner.as_ref().err()
    }

    /// Names of the devices.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the devices drew since [`GpuMeter::open`].
    ///
    /// All of it, whoever used them: there is no counter for each process.
    pub fn energy(&self) -> Option<GpuEnergy> {
        self.inner.as_ref().ok()?.energy()
    }
}

#[cfg(feature = "nvml")]
mod inner {
    use nvml_wrapper::Nvml;
    use nvml_wrapper::error::NvmlError;

    use super::super::model::GpuEnergy;
    use super::super::sensors::SensorState;

    #[derive(Debug)]
    pub(super) struct Counters {
        nvml: Nvml,
        /// Of each device: its index, its counter at the start in millijoules, its power limit in watts.
        devices: Vec<(u32, u64, f64)>,
    }

    impl Counters {
        pub(super) fn open() -> Result<Self, SensorState> {
            let nvml = Nvml::init().map_err(|error| why(&error))?;
            let n_devices = nvml.device_count().map_err(|error| why(&error))?;
            let mut devices = Vec::new();
            for index in 0..n_devices {
                let device = nvml.device_by_index(index).map_err(|error| why(&error))?;
                // Before Volta there is no counter.
                let start_mj = device.total_energy_consumption().map_err(|error| why(&error))?;
                let limit_w = device.power_management_limit().map_or(0.0, |milliwatts| f64::from(milliwatts) / 1e3);
                devices.push((index, start_mj, limit_w));
            }
            if devices.is_empty() { Err(SensorState::Missing) } else { Ok(Self { nvml, devices }) }
        }

        pub(super) fn names(&self) -> Vec<String> {
            let name = |index: u32| self.nvml.device_by_index(index).and_then(|device| device.name());
            self.devices.iter().map(|(index, ..)| name(*index).unwrap_or_else(|_| format!("GPU {index}"))).collect()
        }

        pub(super) fn energy(&self) -> Option<GpuEnergy> {
            let mut energy = GpuEnergy { joules: 0.0, limit_w: 0.0 };
            for (index, start_mj, limit_w) in &self.devices {
                let device = self.nvml.device_by_index(*index).ok()?;
                let grown_mj = device.total_energy_consumption().ok()?.checked_sub(*start_mj)?;
                energy.joules += grown_mj as f64 / 1e3;
                energy.limit_w += limit_w;
            }
            Some(energy)
        }
    }

    fn why(error: &NvmlError) -> SensorState {
        match error {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded => {
                SensorState::Missing
            }
            NvmlError::NoPermission => SensorState::NotPermitted,
            _ => SensorState::Unreadable(error.to_string()),
        }
    }
}

#[cfg(not(feature = "nvml"))]
mod inner {
    use super::super::model::GpuEnergy;
    use super::super::sensors::SensorState;

    /// There are none: built without feature `nvml`.
    #[derive(Debug)]
    pub(super) enum Counters {}

    impl Counters {
        pub(super) fn open() -> Result<Self, SensorState> {
            Err(SensorState::NotBuilt)
        }

        pub(super) fn names(&self) -> Vec<String> {
            match *self {}
        }

        pub(super) fn energy(&self) -> Option<GpuEnergy> {
            match *self {}
        }
    }
}
