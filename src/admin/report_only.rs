//! The report of observing routes as JSON.
//!
//! It says what a route with `enforce = false` would have refused, and to whom.

use serde_json::{Value, json};

use crate::telemetry::report_only::{RefusedCaller, ReportOnly};

/// The report: `{"routes": [{route, permitted, refused, callers: [{reason, count, …}]}]}`. The
/// callers of a route are in the order of their counts, highest first. A caller without a name is
/// shown by address, and callers beyond the bound have neither.
pub(super) fn observed(observed: &ReportOnly) -> Value {
    let (routes, sightings) = observed.report();
    let listed = routes.iter().map(|(route, passed)| {
        let callers = sightings.iter().filter(|one| one.route == *route).map(|one| {
            let (subject, username, address) = match &one.who {
                RefusedCaller::Subject { id, name } => (Some(id.as_str()), Some(&**name), None),
                RefusedCaller::Address(address) => (None, None, Some(address.to_string())),
                RefusedCaller::Others => (None, None, None),
            };
            json!({
                "reason": one.reason,
                "count": one.count,
                "subject": subject,
                "username": username,
                "address": address,
                "first": one.first.to_string(),
                "latest": one.latest.to_string(),
            })
        });
        json!({
            "route": &**route,
            "permitted": passed.permitted,
            "refused": passed.refused,
            "callers": callers.collect::<Vec<_>>(),
        })
    });
    json!({ "routes": listed.collect::<Vec<_>>() })
}
