//! `[admin] socket`: the group of the system's users that may give commands to the running gateway,
//! and the mode of the socket's file. `admin` grants them.

use serde::{Serialize, Serializer};

/// The access to `admin.sock`, as the file system grants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdminSocket {
    /// The group whose members may use the socket; `None`: only the gateway's own user and root.
    pub group: Option<SocketGroup>,
    /// The permission bits of the socket's file.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
}

/// A group of the system's users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SocketGroup {
    /// The name as written in the configuration.
    pub name: String,
    /// The number of the group, which the kernel uses.
    #[serde(skip)]
    pub id: u32,
}

impl AdminSocket {
    /// The mode that lets in nobody but the gateway's own user.
    pub(crate) const OWNER_ONLY: u32 = 0o600;
}

impl Default for AdminSocket {
    fn default() -> Self {
        Self { group: None, mode: Self::OWNER_ONLY }
    }
}

fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{mode:04o}"))
}
