//! Users and their passwords, wherever they are kept.
//!
//! `UserSource` is the seam; `file` reads `users.toml`. `Users` asks the sources of a login in
//! order: the first that knows the name decides. `password` hashes in its own bounded threads.

mod source;

pub use self::source::{Checked, Name, SourceError, User, UserSource};
