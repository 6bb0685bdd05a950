//! The chart as Helm renders it. No cluster is needed; what Helm does in one is shown in `tests/main/chart.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod drift;
mod flags;
mod monitoring;
mod network;
mod render;
mod values;
