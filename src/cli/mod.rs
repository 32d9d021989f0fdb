//! Arguments and commands: the only place that prints and uses `anyhow`.

pub mod hash;
pub mod users;
