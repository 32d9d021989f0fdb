//! `strip_prefix` and `replace_prefix` of a route: how the beginning of the path is rewritten.
//!
//! Both are checked against the route's path, so that a rewritten path never depends on how a
//! request was spelled. Rewriting itself is done in `pipeline`; a rule that could not apply is
//! refused here.

use super::item::SpannedValue;
use super::path::check_exact;
use super::reader::TableReader;
use crate::settings::PrefixRule;
use crate::settings::path::is_below;

impl PrefixRule {
    pub(super) fn read(table: &mut TableReader<'_>, path: &str) -> Self {
        match table.at_most_one_of(["strip_prefix", "replace_prefix"]).into() {
            (Some(_), Some(item)) => {
                item.issue("and strip_prefix contradict each other: leave one out");
                Self::Keep
            }
            (Some(item), None) => read_strip(&item, path).map_or(Self::Keep, Self::Strip),
            (None, Some(item)) => read_replace(&item, path).unwrap_or(Self::Keep),
            (None, None) => Self::Keep,
        }
    }
}

/// Reads the prefix to remove. It must be a prefix of the route's path: else some requests of the
/// route would not begin with it. The comparison is one of whole segments: `/api` is no prefix of
/// `/apidocs`.
fn read_strip(item: &SpannedValue<'_>, path: &str) -> Option<String> {
    let prefix = item.string()?;
    let bare = path.trim_start_matches('=');
    if !prefix.starts_with('/') || prefix.contains(['{', '}']) {
        item.issue("must begin with a slash and be plain");
    } else if !bare.is_empty() && !is_below(bare, prefix, false) {
        item.issue(format!("must be the beginning of the route's path {bare:?}"));
    }
    Some(prefix.to_owned())
}

/// Reads the replacement. Only a plain prefix route has a fixed beginning that can be replaced.
fn read_replace(item: &SpannedValue<'_>, path: &str) -> Option<PrefixRule> {
    let to = item.string()?;
    if path.starts_with('=') || path.contains('{') {
        item.issue("is for prefix routes only");
    } else if let Err(remedy) = check_exact(to) {
        item.issue(remedy);
    } else if !to.bytes().all(goes_as_it_is) {
        item.issue("must be of letters that a request's path has as they are");
    }
    let bare = |path: &str| path.trim_end_matches('/').to_owned();
    Some(PrefixRule::Replace { from: bare(path), to: bare(to) })
}

/// True for the bytes that need no escape in a path (RFC 3986, section 3.3). The replacement is
/// sent as it is written, without an encoding step. Escapes would make it depend on the upstream
/// whether they are decoded once more.
fn goes_as_it_is(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,=:@".contains(&byte)
}
