//! The controller against a real API server. Nothing runs Jobs there: each test plays that part itself.

mod checks;
mod children;
mod claims;
mod gap;
mod gates;
mod kills;
mod kubelet;
mod leader;
mod life;
mod namespaces;
mod placement;
mod plane;
mod preflight;
mod progress;
mod prunes;
mod queue;
mod refused;
mod replica;
mod restarts;
mod shared_claims;
mod stock;
mod verifies;
mod writers;
