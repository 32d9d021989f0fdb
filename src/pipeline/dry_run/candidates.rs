//! The routes and endpoints that were considered, and why each of them lost.

use super::DryRun;
use super::explanation::Candidate;
use crate::gateway::ServedRoute;
use crate::routing::{PathAnomalies, Pattern, RouteEntry, RouteLoss};
use crate::settings::RouteSettings;

impl DryRun<'_> {
    /// The endpoints that have the path, then all routes in the order of the configuration.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = self.endpoints();
        let Ok(target) = &self.target else { return candidates };
        if target.host().is_none() {
            return candidates;
        }
        let generation = &self.view.generation;
        for settings in &generation.config.routes {
            let Ok(pattern) = Pattern::parse(&settings.path) else { continue };
            let entry = RouteEntry {
                hosts: &settings.hosts,
                pattern: &pattern,
                methods: &settings.methods,
                allowed: PathAnomalies::allowed(&settings.allow_path),
                case_insensitive: settings.case_insensitive,
            };
            let is_it = |route: &std::sync::Arc<ServedRoute>| *route.name == *settings.name;
            let loss = generation.table.loss(target, &entry, is_it);
            candidates.extend(self.candidate(settings, loss));
        }
        candidates
    }

    fn candidate(&self, settings: &RouteSettings, loss: Option<RouteLoss>) -> Option<Candidate> {
        let is_taken = loss.is_none() && self.route().is_some();
        let lost_by = match loss {
            Some(loss) => Some(word(loss)),
            None if is_taken => None,
            // A route below an endpoint that takes unauthenticated requests gets the others only.
            None if self.endpoint().is_some() => Some("credential"),
            // A health check, the key set, a listener that only redirects.
            None => Some("earlier"),
        };
        Some(Candidate {
            kind: "route",
            name: settings.name.clone(),
            path: settings.path.clone(),
            methods: settings.methods.iter().map(ToString::to_string).collect(),
            is_taken,
            lost_by,
            place: self.place(self.route_key(&settings.name, "")?),
        })
    }

    fn endpoints(&self) -> Vec<Candidate> {
        let Ok(target) = &self.target else { return Vec::new() };
        let found = self.view.generation.table.endpoints(target);
        let candidate = |one: crate::routing::EndpointCandidate<'_, _>| {
            let endpoint: &crate::gateway::LoginEndpoint = one.login;
            let login = &endpoint.login.config;
            let described = login.dialect.endpoints.get(endpoint.number)?;
            let is_taken = one.is_taken && self.endpoint().is_some();
            let lost_by = match (one.is_taken, is_taken) {
                (false, _) => Some("method"),
                (true, false) => Some("credential"),
                (true, true) => None,
            };
            let number = self.view.generation.config.logins.iter();
            let number = number.clone().position(|other| other.name == login.name)?;
            Some(Candidate {
                kind: "endpoint",
                name: format!("{}, {:?}", login.name, described.step),
                path: format!("{}{}", login.prefix, described.path),
                methods: vec![described.method.to_string()],
                is_taken,
                lost_by,
                place: self.place(format!("login[{number}]")),
            })
        };
        found.into_iter().filter_map(candidate).collect()
    }
}

/// The loss in one word, which is part of the contract.
fn word(loss: RouteLoss) -> &'static str {
    match loss {
        RouteLoss::Host => "host",
        RouteLoss::OuterHost => "outer_host",
        RouteLoss::Path => "path",
        RouteLoss::ShorterPath => "shorter_path",
        RouteLoss::Method => "method",
        RouteLoss::Endpoint => "endpoint",
        RouteLoss::Spelling => "spelling",
    }
}
