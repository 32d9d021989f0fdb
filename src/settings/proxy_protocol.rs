//! `proxy_protocol` of an `[[upstream]]`: connections to it begin with the address of the client.

/// A version of the PROXY protocol header: version 1 is a line of text, version 2 is binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    V1,
    V2,
}

impl ProxyVersion {
    /// The name of the version in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
