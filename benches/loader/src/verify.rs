//! Whether a client's files are the model's, byte for byte.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::model::Model;

/// Compares each file below `target` with what the server sent it from. `None` if all are equal, else what is wrong.
///
/// # Errors
/// A file of the model cannot be read.
pub fn difference(model: &Model, target: &Path) -> io::Result<Option<String>> {
    for file in &model.files {
        let served = File::open(model.folder.join(&file.path))?;
        let fault = match File::open(target.join(&file.path)) {
            Err(error) => Some(format!("cannot be opened: {error}")),
            Ok(got) if got.metadata()?.len() != file.size => {
                Some(format!("has {} bytes, not {}", got.metadata()?.len(), file.size))
            }
            Ok(got) => (!equal(served, got)?).then(|| "has wrong bytes".to_owned()),
        };
        if let Some(fault) = fault {
            return Ok(Some(format!("{} {fault}", file.path)));
        }
    }
    Ok(None)
}

/// Whether two files of the same size have the same content.
fn equal(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Shape;

    #[test]
    fn one_flipped_byte_a_cut_and_a_missing_file_are_seen() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shape = Shape { name: "tiny", file: "model-{}.safetensors", files: 2, sizes: 3 << 20..=3 << 20 };
        let model = Model::write(&shape, source.path()).unwrap();
        let differs = || difference(&model, target.path()).unwrap();
        assert!(differs().unwrap().starts_with("model-00001.safetensors cannot be opened"));
        for file in &model.files {
            fs::copy(source.path().join(&file.path), target.path().join(&file.path)).unwrap();
        }
        assert_eq!(differs(), None);
        let last = target.path().join("model-00002.safetensors");
        let mut bytes = fs::read(&last).unwrap();
        bytes[2_999_999] ^= 1;
        fs::write(&last, &bytes).unwrap();
        assert_eq!(differs().as_deref(), Some("model-00002.safetensors has wrong bytes"));
        fs::write(&last, &bytes[..1000]).unwrap();
        assert_eq!(differs().as_deref(), Some("model-00002.safetensors has 1000 bytes, not 3145728"));
    }
}
