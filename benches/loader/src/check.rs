//! What it takes to check files that a client has left unchecked: their digests, by openssl.

use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use crate::client::Invocation;
use crate::model::Model;

/// Files that one openssl takes at most. A process for each of thousands would cost more than their digests.
const FILES_AT_ONCE: usize = 64;

/// Computes the SHA-256 of every file of the model below `target`, with as many processes at once as there are cores.
///
/// # Errors
/// The list of files cannot be written to `scratch`.
pub fn digests(model: &Model, target: &Path, scratch: &Path) -> io::Result<Invocation> {
    let list = scratch.join("to-check");
    let paths: Vec<String> = model.files.iter().map(|file| target.join(&file.path).display().to_string()).collect();
    fs::write(&list, paths.join("\n"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = paths.len().div_ceil(cores).clamp(1, FILES_AT_ONCE);
    let arguments =
        ["--delimiter=\\n", "--max-procs", &cores.to_string(), "--max-args", &at_once.to_string(), "--arg-file"];
    let mut arguments: Vec<OsString> = arguments.map(OsString::from).into();
    arguments.push(list.into());
    arguments.extend(["openssl", "dgst", "-sha256"].map(OsString::from));
    let environment = vec![("PATH", std::env::var_os("PATH").unwrap_or_default())];
    Ok(Invocation { program: "xargs".into(), arguments, environment })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::{self, Ended};
    use crate::model::Shape;

    #[test]
    fn all_files_are_digested_and_a_missing_one_is_a_failure() {
        let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shape = Shape { name: "tiny", file: "model {}.bin", files: 200, sizes: 1000..=2000 };
        let model = Model::write(&shape, folder.path()).unwrap();
        let run = || {
            let invocation = digests(&model, folder.path(), scratch.path()).unwrap();
            measure::run(&invocation, scratch.path(), Duration::from_secs(60)).unwrap()
        };
        assert!(matches!(run(), Ended::Well(_)));
        // Lines of processes at work together may mingle; none is lost.
        let said = fs::read_to_string(scratch.path().join("said")).unwrap();
        assert_eq!(said.lines().count(), 200);
        fs::remove_file(folder.path().join(&model.files[100].path)).unwrap();
        assert!(matches!(run(), Ended::Badly(_)));
    }
}
