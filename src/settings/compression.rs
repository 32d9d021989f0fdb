//! `compression` of a route: the content codings with which its answers are compressed. `pipeline`
//! picks the one that the client accepts.

use serde::{Serialize, Serializer};

/// The content codings to choose from, if the client accepts them; none of them: off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionSettings {
    pub zstd: bool,
    pub br: bool,
    pub gzip: bool,
}

impl CompressionSettings {
    /// False if no answer is ever compressed.
    pub fn is_on(self) -> bool {
        self.zstd || self.br || self.gzip
    }
}

impl Serialize for CompressionSettings {
    /// The list of the codings that are on.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let codings = [("zstd", self.zstd), ("br", self.br), ("gzip", self.gzip)];
        serializer.collect_seq(codings.iter().filter(|(_, on)| *on).map(|(name, _)| name))
    }
}
