//! The controller against a real API server. Nothing runs Jobs there: each test plays that part itself.

mod children;
mod claims;
mod gates;
mod leader;
mod life;
mod namespaces;
mod placement;
mod plane;
mod prunes;
mod queue;
mod replica;
mod shared_claims;
mod writers;
