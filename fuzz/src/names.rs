//! A file of a model lies in its directory.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use model_loader::name::{FileName, HIDDEN_DIR};

/// Checks that a name leads to an entry of the directory it is joined to, and to none of the loader's own.
pub fn stays_inside(name: &FileName) {
    let directory = Path::new("/models/tiny");
    let path = name.below(directory);
    let inside = path.strip_prefix(directory).unwrap_or_else(|_| panic!("{name:?} leaves the directory"));
    let parts: Vec<_> = inside.components().collect();
    assert!(!parts.is_empty(), "{name:?} is the directory itself");
    assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{name:?} walks");
    assert!(!path.as_os_str().as_bytes().contains(&0), "{name:?} ends early for the system");
    assert_ne!(parts[0], Component::Normal(HIDDEN_DIR.as_ref()), "{name:?} is the loader's");
}
