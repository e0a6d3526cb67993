//! Where the scorer computes: CUDA if it is built in and there, else the CPU, and why.

use candle_core::Device;

use crate::{Error, Result};

/// Device the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device if this build can use one and the machine has one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this ordinal, or an error.
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    /// Reads `auto`, `cpu`, `cuda` (the first one) or `cuda:N`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()).map(Self::Cuda).ok_or_else(|| {
                Error::Config {
                    message: format!("`{text}` is not a device"),
                    hint: Some("use `auto`, `cpu` or `cuda:N`".into()),
                }
            }),
        }
    }
}

/// The device a run got.
#[derive(Debug, Clone)]
pub struct ResolvedDevice {
    /// For Candle.
    pub device: Device,
    /// `cpu` or `cuda:N`, for the manifest.
    pub description: String,
    /// Why `auto` did not take a CUDA device.
    pub fallback_reason: Option<String>,
}

impl ResolvedDevice {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, description: "cpu".into(), fallback_reason: None }
    }
}

/// Finds the device, and proves a CUDA device by a small computation on it.
///
/// # Errors
/// [`Error::Config`] if a CUDA device was asked for by its ordinal and cannot be used.
pub fn resolve(choice: DeviceChoice) -> Result<ResolvedDevice> {
    match choice {
        DeviceChoice::Cpu => Ok(ResolvedDevice::cpu()),
        DeviceChoice::Auto => Ok(open_cuda(0)
            .unwrap_or_else(|reason| ResolvedDevice { fallback_reason: Some(reason), ..ResolvedDevice::cpu() })),
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal).map_err(|reason| Error::Config {
            message: format!("the device `cuda:{ordinal}` cannot be used: {reason}"),
            hint: Some("use `auto` or `cpu`".into()),
        }),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_ordinal: usize) -> Result<ResolvedDevice, String> {
    Err("this build has no CUDA support".into())
}

/// The loader of CUDA's libraries panics where one is missing: the driver is looked for first, and the first use of the others is
/// fenced.
#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<ResolvedDevice, String> {
    use candle_core::{DType, Tensor};

    if !has_driver() {
        return Err("this machine has no CUDA driver (libcuda)".into());
    }
    let prove = move || -> candle_core::Result<Device> {
        let device = Device::new_cuda(ordinal)?;
        let ones = Tensor::ones((8, 8), DType::F32, &device)?;
        ones.matmul(&ones)?.sum_all()?.to_scalar::<f32>()?;
        Ok(device)
    };
    match std::panic::catch_unwind(prove) {
        Ok(Ok(device)) => Ok(ResolvedDevice { device, description: format!("cuda:{ordinal}"), fallback_reason: None }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("a library of CUDA could not be loaded".into()),
    }
}

/// Whether the driver's library can be loaded. The check of `cudarc` is there only where it loads all libraries at run time.
#[cfg(feature = "cuda")]
fn has_driver() -> bool {
    let names = if cfg!(windows) { ["nvcuda.dll"].as_slice() } else { &["libcuda.so.1", "libcuda.so"] };
    names.iter().any(|name| {
        #[expect(unsafe_code, reason = "loading a library runs what it does when it is loaded")]
        // SAFETY: what is loaded, if it is there, is the driver of the device that the user wants to use.
        let library = unsafe { libloading::Library::new(*name) };
        library.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_device_names() {
        for (text, expect) in [
            ("auto", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:3", Some(DeviceChoice::Cuda(3))),
            ("cuda:", None),
            ("cuda:-1", None),
            ("gpu", None),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().ok(), expect, "{text}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        let resolved = resolve(DeviceChoice::Cpu).unwrap();
        assert_eq!((resolved.description.as_str(), resolved.fallback_reason), ("cpu", None));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_cuda_auto_says_why_and_an_explicit_device_is_an_error() {
        let resolved = resolve(DeviceChoice::Auto).unwrap();
        assert_eq!(resolved.description, "cpu");
        assert!(resolved.fallback_reason.unwrap().contains("no CUDA"));
        let error = resolve(DeviceChoice::Cuda(1)).unwrap_err();
        assert!(matches!(&error, Error::Config { message, .. } if message.contains("cuda:1")), "{error:?}");
    }
}
