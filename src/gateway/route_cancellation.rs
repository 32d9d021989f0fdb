//! Decides which routes a reload ends. Streams that a route has let in must not outlive the rule
//! that let them in.
//!
//! A route goes on, under the same name, as long as the same requests reach the same upstream by
//! the same rule. It also ends if another route with another rule takes a part of its requests from
//! now on. How a request is changed on its way, and which servers the upstream has, only concerns
//! the next request.

use std::collections::HashMap;
use std::sync::Arc;

use crate::settings::{Config, RouteSettings};
use crate::upstream::{CancellationSources, RouteCancellation};

/// The place where the end of each route is announced, by the name of the route.
pub(super) type RouteCancellations = HashMap<String, Arc<RouteCancellation>>;

/// The routes of the configuration that is in effect until now.
#[derive(Clone, Copy)]
pub(super) struct PriorRoutes<'a> {
    pub(super) config: &'a Config,
    pub(super) ends: &'a RouteCancellations,
}

/// The ends of the routes of `config`: those of routes that go on are taken from `last`, the others
/// are new. A route that goes on keeps its end, so streams that registered there are found again.
pub(super) fn route_ends(
    cancellations: &Arc<CancellationSources>,
    config: &Config,
    last: Option<PriorRoutes<'_>>,
) -> RouteCancellations {
    let of_last = last.map(|last| last.config.routes.as_slice()).unwrap_or_default();
    let before: HashMap<&str, &RouteSettings> =
        of_last.iter().map(|route| (route.name.as_str(), route)).collect();
    let kept = |route: &RouteSettings| {
        let last = last?;
        let before = before.get(route.name.as_str())?;
        let goes_on = is_same_rule(before, route) && are_issuers_kept(before, last.config, config);
        last.ends.get(&route.name).filter(|_| goes_on).cloned()
    };
    // Only a new route, or one whose rule has changed, can take requests from another one.
    let (kept, new): (Vec<_>, Vec<_>) =
        config.routes.iter().map(|route| (route, kept(route))).partition(|(_, end)| end.is_some());
    let is_cut = |route: &RouteSettings| {
        // A route with the same rule may take over requests freely: whoever was let in by the one
        // would be let in by the other.
        let stricter = |new: &RouteSettings| new.takes_from(route) && who(new) != who(route);
        new.iter().any(|(new, _)| stricter(new))
    };
    let all = kept.iter().chain(&new).map(|(route, end)| {
        let end = end.as_ref().filter(|_| !is_cut(route)).cloned();
        (route.name.clone(), end.unwrap_or_else(|| RouteCancellation::new(cancellations)))
    });
    all.collect()
}

/// Announces the end of every route of `last` that does not go on in `next`.
pub(super) fn announce(last: &RouteCancellations, next: &RouteCancellations) {
    for (name, end) in last {
        if !next.get(name).is_some_and(|kept| Arc::ptr_eq(kept, end)) {
            end.announce();
        }
    }
}

/// True if the same requests reach the same destination by the same rule.
fn is_same_rule(before: &RouteSettings, after: &RouteSettings) -> bool {
    let place = |route: &RouteSettings| {
        let path = (route.path.clone(), route.case_insensitive);
        (route.hosts.clone(), route.methods.clone(), path, route.action.clone())
    };
    place(before) == place(after) && who(before) == who(after)
}

/// The part of a route's rule that decides who is let in. Two routes with equal parts let the same
/// callers in. It is compared and never looked into.
fn who(route: &RouteSettings) -> impl PartialEq + use<'_> {
    let named = (&route.users, &route.issuers, &route.logins);
    (&route.auth, named, &route.require, route.enforce)
}

/// True if every issuer whose tokens the route accepted is unchanged. Tokens of logins and
/// passwords of users are not looked at here: their sessions and credentials are reviewed one by
/// one.
fn are_issuers_kept(route: &RouteSettings, before: &Config, after: &Config) -> bool {
    let takes = |name: &String| route.issuers.is_empty() || route.issuers.contains(name);
    let is_token = route.auth.iter().any(|kind| kind.is_token());
    let mut taken = before.issuers.iter().filter(|issuer| is_token && takes(&issuer.name));
    taken.all(|issuer| after.issuers.contains(issuer))
}
