//! `[admin] socket`: the group of the system's users that may give commands to the running gateway,
//! and the mode of the socket's file. `admin` grants them.

/// The access to `admin.sock`, as the file system grants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSocket {
    /// The group whose members may use the socket; `None`: only the gateway's own user and root.
    pub group: Option<SocketGroup>,
    /// The permission bits of the socket's file.
    pub mode: u32,
}

/// A group of the system's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketGroup {
    /// The name as written in the configuration.
    pub name: String,
    /// The number of the group, which the kernel uses.
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
