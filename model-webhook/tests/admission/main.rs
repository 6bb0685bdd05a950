//! Every answer of the webhook, without a socket.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::needless_pass_by_value, reason = "tables read better with json! in place")]

mod injection;
mod limits;
mod protocol;
mod waiting;
mod world;
