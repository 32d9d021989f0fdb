//! `mirror` of a route: another upstream that gets a copy of the route's requests.
//!
//! Copies carry no credential of the caller, and their answers are thrown away. This lets a new
//! server be tried with real requests. `pipeline` sends the copies.

use super::reader::TableReader;
use super::references::References;
use crate::settings::MirrorSettings;

/// The body of a copy is kept in memory until the original was sent, so it must be small.
const BODY_LIMIT: u64 = 64 << 10;
const LARGEST: u64 = 16 << 20;
const ALL: u64 = 100;

impl MirrorSettings {
    /// Reads the name of an upstream, or a table. `main` is the route's own upstream: a copy to it
    /// would carry out every request twice. Reading it twice would also double every side effect,
    /// such as an order.
    pub(super) fn read(
        table: &mut TableReader<'_>,
        main: &str,
        known: &References,
    ) -> Option<Self> {
        let item = table.get("mirror")?;
        let (named, percent, body_limit) = if item.is_text() {
            (Some(item), ALL, BODY_LIMIT)
        } else {
            let mut table = item.table()?;
            let named = table.required("upstream", "the name of an [[upstream]]");
            let percent = table.number_or("percent", ALL, 1..=ALL);
            (named, percent, table.size_or("body_limit", BODY_LIMIT, 0..=LARGEST))
        };
        // The other keys have been read by now, so their problems are reported even if no upstream
        // is named.
        let named = named?;
        let upstream = known.upstreams.refer(&named)?;
        if upstream == main {
            named.issue("is the route's own upstream: it would be asked everything twice");
        }
        // Invariant: at most 100, so it fits.
        let percent = u8::try_from(percent).unwrap_or(100);
        Some(Self { upstream, percent, body_limit })
    }
}
