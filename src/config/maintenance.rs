//! `maintenance` of a route: every request is refused with 503, except from chosen networks.
//!
//! The refusal comes before authentication, so that it works while users cannot be verified.
//! `pipeline` applies it.

use std::time::Duration;

use ipnet::IpNet;

use super::item::SpannedValue;
use super::listener::read_any_net;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::settings::MaintenanceMode;

const AGAIN: Duration = Duration::from_secs(600);
const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

impl MaintenanceMode {
    /// Reads `true` or a table; `false` and a missing key mean no maintenance.
    pub(super) fn read(table: &mut TableReader<'_>) -> Option<Self> {
        let item = table.get("maintenance")?;
        // The short form has the default time and lets nobody through.
        if item.is_bool() {
            let plain = Self { retry_after: AGAIN, message: None, networks: Vec::new() };
            return item.bool()?.then_some(plain);
        }
        let mut table = item.table()?;
        Some(Self {
            retry_after: table.duration_or("retry_after", AGAIN, WAIT),
            message: table
                .get("message")
                .as_ref()
                .and_then(SpannedValue::string)
                .map(str::to_owned),
            networks: table.list("networks").iter().filter_map(read_network).collect(),
        })
    }
}

fn read_network(item: &SpannedValue<'_>) -> Option<IpNet> {
    let net = read_any_net(item)?;
    // A network of length 0 contains every address, so maintenance would have no effect.
    if net.prefix_len() == 0 {
        item.warn(WarningName::EverybodyPasses, "is everybody: nobody is kept out");
    }
    Some(net)
}
