//! `proxy_protocol` of an `[[upstream]]`: connections to it begin with the address of the client.

use serde::Serialize;

/// A version of the PROXY protocol header: version 1 is a line of text, version 2 is binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    V1,
    V2,
}
