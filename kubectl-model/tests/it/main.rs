//! The plugin as a person uses it: the real binary against a real API server. No operator runs there: each test plays
//! that part itself.

mod create;
mod faults;
mod follow;
mod krew;
mod logs;
mod page;
mod plane;
mod retries;
mod shell;
mod terminal;
mod verify;
mod why;
