//! What holds for whatever a stranger sends.

#[cfg(feature = "loader")]
pub mod names;
pub mod pods;
