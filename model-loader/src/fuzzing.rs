//! Private readers of hostile bytes, opened for the targets in `fuzz/` and built for nothing else.

pub use crate::{
    fetch::recorded,
    plan::fuzzing::{Answer, planned},
};
