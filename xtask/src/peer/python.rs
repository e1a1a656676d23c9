//! An environment that has llama.cpp: `llama-cpp-python` from the package index, built from source for this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

/// What makes llama.cpp leave AMX alone and use everything else that a CPU with AMX has.
pub(super) const WITHOUT_AMX: [&str; 11] = [
    "-DGGML_NATIVE=OFF",
    "-DGGML_SSE42=ON",
    "-DGGML_AVX=ON",
    "-DGGML_AVX2=ON",
    "-DGGML_BMI2=ON",
    "-DGGML_FMA=ON",
    "-DGGML_F16C=ON",
    "-DGGML_AVX512=ON",
    "-DGGML_AVX512_VBMI=ON",
    "-DGGML_AVX512_VNNI=ON",
    "-DGGML_AVX512_BF16=ON",
];

/// The interpreter `given`, or that of the environment in `folder`, which is made if it is not there.
pub(super) fn with_llama_cpp(given: Option<&Path>, folder: &Path, options: &[&str]) -> Result<PathBuf> {
    if let Some(python) = given {
        return match has_llama_cpp(python) {
            true => Ok(python.to_owned()),
            false => Err(format!(
                "`{0}` has no `llama-cpp-python`: `{0} -m pip install llama-cpp-python` builds it",
                python.display()
            )),
        };
    }
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if has_llama_cpp(&python) {
        return Ok(python);
    }
    eprintln!("making an environment with llama.cpp in `{}`: ten minutes or more", folder.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(&python);
    // From source, even where the index has a build: it would be one for any machine.
    pip.args(["-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python", "llama-cpp-python"]);
    run(pip.env("CMAKE_ARGS", options.join(" ")))?;
    match has_llama_cpp(&python) {
        true => Ok(python),
        false => Err(format!("the environment in `{}` cannot import `llama_cpp`", folder.display())),
    }
}

fn has_llama_cpp(python: &Path) -> bool {
    Command::new(python).args(["-c", "import llama_cpp"]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} ended with {status}")),
        Err(e) => Err(format!("cannot run {command:?}: {e}")),
    }
}
