//! Which routes a reload ends: what they have open does not outlive the rule it was let in by.
//!
//! A route goes on, under the same name, while the same requests reach the same upstream by the
//! same rule: it ends, too, where another route with another rule takes a part of its requests
//! from now on. How a request is changed on its way, and where the upstream's servers are, is for
//! the next request.

use std::collections::HashMap;
use std::sync::Arc;

use super::Generation;
use crate::config::{Config, Route};
use crate::upstream::{Ends, RouteEnd};

/// Where the end of each route is announced, by name.
pub(super) type RouteEnds = HashMap<String, Arc<RouteEnd>>;

/// The routes of `config`: those that go on from `last`, and new ones.
pub(super) fn route_ends(
    ends: &Arc<Ends>,
    config: &Config,
    last: Option<&Generation>,
) -> RouteEnds {
    let of_last = last.map(|last| last.config.routes.as_slice()).unwrap_or_default();
    let before: HashMap<&str, &Route> =
        of_last.iter().map(|route| (route.name.as_str(), route)).collect();
    let kept = |route: &Route| {
        let (last, before) = (last?, before.get(route.name.as_str())?);
        let goes_on = is_same_rule(before, route) && are_issuers_kept(before, &last.config, config);
        last.route_ends.get(&route.name).filter(|_| goes_on).cloned()
    };
    let (kept, new): (Vec<_>, Vec<_>) =
        config.routes.iter().map(|route| (route, kept(route))).partition(|(_, end)| end.is_some());
    let is_cut = |route: &Route| {
        let stricter = |new: &Route| new.takes_from(route) && who(new) != who(route);
        new.iter().any(|(new, _)| stricter(new))
    };
    let all = kept.iter().chain(&new).map(|(route, end)| {
        let end = end.as_ref().filter(|_| !is_cut(route)).cloned();
        (route.name.clone(), end.unwrap_or_else(|| RouteEnd::new(ends)))
    });
    all.collect()
}

/// Ends what the routes of `last` have open that are not in `next` any more.
pub(super) fn announce(last: &RouteEnds, next: &RouteEnds) {
    for (name, end) in last {
        if !next.get(name).is_some_and(|kept| Arc::ptr_eq(kept, end)) {
            end.announce();
        }
    }
}

fn is_same_rule(before: &Route, after: &Route) -> bool {
    let place = |route: &Route| {
        let path = (route.path.clone(), route.case_insensitive);
        (route.hosts.clone(), route.methods.clone(), path, route.action.clone())
    };
    place(before) == place(after) && who(before) == who(after)
}

/// Whom a route lets in.
fn who(route: &Route) -> impl PartialEq + use<'_> {
    let named = (&route.users, &route.issuers, &route.logins);
    (&route.auth, named, &route.require, route.enforce)
}

/// Whether every issuer whose tokens the route took is still believed as before. (Those of logins
/// and users have sessions or credentials that are reviewed one by one.)
fn are_issuers_kept(route: &Route, before: &Config, after: &Config) -> bool {
    let takes = |name: &String| route.issuers.is_empty() || route.issuers.contains(name);
    let is_token = route.auth.iter().any(|kind| kind.is_token());
    let mut taken = before.issuers.iter().filter(|issuer| is_token && takes(&issuer.name));
    taken.all(|issuer| after.issuers.contains(issuer))
}
