//! `mirror` of a route: another upstream that is sent a copy of its requests, without the
//! caller's credential.

use toml::Table as Printed;

use super::known::Known;
use super::out::Out;
use super::reader::Table;
use super::size;

/// Where copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Name of the `[[upstream]]`.
    pub upstream: String,
    /// How many of a hundred requests are copied.
    pub percent: u8,
    /// Requests with larger bodies are not copied.
    pub body_limit: u64,
}

/// A copy's body is kept in memory until the original has gone out.
const BODY_LIMIT: u64 = 64 << 10;
const LARGEST: u64 = 16 << 20;
const ALL: u64 = 100;

impl Mirror {
    /// The name of an upstream, or a table; `main` is the route's own.
    pub(super) fn read(table: &mut Table<'_>, main: &str, known: &Known) -> Option<Self> {
        let item = table.get("mirror")?;
        let (named, percent, body_limit) = if item.is_text() {
            (Some(item), ALL, BODY_LIMIT)
        } else {
            let mut table = item.table()?;
            let named = table.required("upstream", "the name of an [[upstream]]");
            let percent = table.number_or("percent", ALL, 1..=ALL);
            (named, percent, table.size_or("body_limit", BODY_LIMIT, 0..=LARGEST))
        };
        let named = named?;
        let upstream = known.upstreams.refer(&named)?;
        if upstream == main {
            named.issue("is the route's own upstream: it would be asked everything twice");
        }
        // Invariant: at most 100.
        let percent = u8::try_from(percent).unwrap_or(100);
        Some(Self { upstream, percent, body_limit })
    }

    pub(super) fn print(&self) -> Printed {
        Out::default()
            .text("upstream", &self.upstream)
            .int("percent", self.percent)
            .text("body_limit", size::render(self.body_limit))
            .table()
    }
}
