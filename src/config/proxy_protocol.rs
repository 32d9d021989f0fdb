//! `proxy_protocol` of an `[[upstream]]`: connections to it begin with the address of the client.
//!
//! The header is written once, at the beginning of a connection, so each client needs connections
//! of its own. HTTP/2 shares connections among clients, and the combination is refused here.

use super::reader::TableReader;
use crate::settings::ProxyVersion;

impl ProxyVersion {
    pub(super) fn read(table: &mut TableReader<'_>, http2: bool) -> Option<Self> {
        let item = table.get("proxy_protocol")?;
        if http2 {
            item.issue("gives each client connections of its own: http2 would share them");
        }
        item.choice(&[("v1", Self::V1), ("v2", Self::V2)])
    }
}
