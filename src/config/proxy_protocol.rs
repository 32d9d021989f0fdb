//! `[[upstream]] proxy_protocol`: whether connections to it begin with the client's address.

use super::reader::Table;

/// A version of the PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    V1,
    V2,
}

impl ProxyVersion {
    pub(super) fn read(table: &mut Table<'_>, http2: bool) -> Option<Self> {
        let item = table.get("proxy_protocol")?;
        if http2 {
            item.issue("gives each client connections of its own: http2 would share them");
        }
        item.choice(&[("v1", Self::V1), ("v2", Self::V2)])
    }

    /// As it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
