//! Where in a request a token was found, and whose tokens count there.
//!
//! A token that says nothing of its issuer could be anybody's. It is shown only to issuers whose
//! clients carry their tokens in the place where it was found, so that a token which was meant for
//! one system is never sent to another.

use crate::dialect::Carrier;

/// The place of a token.
#[derive(Clone, Copy, Debug)]
pub enum TokenPlace<'a> {
    /// As a Bearer token, or as the pair of `X-Access-Token` and `X-Key`.
    Usual,
    /// In these places: that of the token, then that of the key if it has one. Schemes are in lower
    /// case.
    Carrier(&'a [Carrier]),
}

/// The issuers whose tokens count, and the place in which they count.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedIssuers<'a> {
    /// The names of the issuers; empty means all.
    pub names: &'a [String],
    pub place: TokenPlace<'a>,
}

impl<'a> AcceptedIssuers<'a> {
    /// All issuers, of tokens in the usual places.
    pub const ALL: AcceptedIssuers<'static> =
        AcceptedIssuers { names: &[], place: TokenPlace::Usual };

    /// These issuers (all if there is none), of tokens in the usual places.
    pub fn usual(names: &'a [String]) -> Self {
        Self { names, place: TokenPlace::Usual }
    }

    /// These issuers, of tokens in a carrier.
    pub fn carried(names: &'a [String], places: &'a [Carrier]) -> Self {
        Self { names, place: TokenPlace::Carrier(places) }
    }

    pub(super) fn has(&self, issuer: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == issuer)
    }
}
