//! Fault switches: what goes wrong, for which requests, how often.

pub(crate) mod layer;
pub(crate) mod rule;
pub(crate) mod set;
pub(crate) mod shape;
