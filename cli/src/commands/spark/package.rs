//! The driver's Python package, carried by this binary: kernels and driver are of one version, and nothing has to be installed but
//! pyspark and pyarrow.

use std::io;
use std::path::{Path, PathBuf};

/// Name of the package.
const PACKAGE: &str = "tamis_spark";
/// The file that `spark-submit` starts.
const MAIN: &str = "main.py";

macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../pipeline/spark/src/tamis_spark/", $name)))),*]
    };
}

const MODULES: [(&str, &str); 27] = modules![
    "__init__.py",
    "__main__.py",
    "audits.py",
    "bridge.py",
    "checkpoint.py",
    "child.py",
    "cluster.py",
    "components.py",
    "dividing.py",
    "driver.py",
    "errors.py",
    "fate.py",
    "folding.py",
    "gpus.py",
    "judging.py",
    "main.py",
    "progress.py",
    "scores.py",
    "scoring.py",
    "search.py",
    "selecting.py",
    "session.py",
    "stages.py",
    "streams.py",
    "tables.py",
    "usage.py",
    "work.py",
];

/// Writes the package into a folder; gives the file to start.
pub(super) fn write(folder: &Path) -> io::Result<PathBuf> {
    let package = folder.join(PACKAGE);
    std::fs::create_dir(&package)?;
    for (name, text) in MODULES {
        std::fs::write(package.join(name), text)?;
    }
    Ok(package.join(MAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_module_is_left_out() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/spark/src/tamis_spark");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut found: Vec<String> = entries
            .filter(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "py") && name != "ray.py")
            .collect();
        found.sort();
        assert_eq!(found, MODULES.map(|(name, _)| name.to_owned()));
    }
}
