//! How the state machine is shown right: every combination in a table, then properties over whole histories.

mod checks;
mod claim;
mod histories;
mod progress;
mod prune;
mod refused;
mod seen;
mod spec_fields;
mod table;
mod verify;
mod world;
