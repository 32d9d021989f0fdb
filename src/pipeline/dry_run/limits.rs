//! The limits that apply to a request, and what is left of those that count.

use super::DryRun;
use super::explanation::Limit;
use crate::gateway::ServedRoute;
use crate::settings::RateLimit;

impl DryRun<'_> {
    /// The limits of the route, or of the login, in the order of the configuration.
    pub(super) fn limits(&self) -> Vec<Limit> {
        if let Some(endpoint) = self.endpoint() {
            let config = &endpoint.login.config;
            let logins = &self.view.generation.config.logins;
            let number = logins.iter().position(|login| login.name == config.name);
            let place = |key: String| self.place(key);
            let body = number.map(|number| Limit {
                limit: "body_limit".to_owned(),
                allows: format!("{} bytes", config.body_limit),
                state: None,
                place: place(format!("login[{number}].body_limit")),
            });
            let attempts = &self.view.generation.config.login_limits;
            let by = [("per_address", attempts.per_address), ("per_account", attempts.per_account)];
            let by = by.map(|(name, rate)| Limit {
                limit: name.to_owned(),
                allows: format!("{} attempts in {:?}", rate.attempts, rate.per),
                state: None,
                place: place(format!("login_limits.{name}")),
            });
            return body.into_iter().chain(by).collect();
        }
        let Some(route) = self.route() else { return Vec::new() };
        let key = |key: &str| self.route_key(&route.name, key).map(|key| self.place(key));
        let rule = |(number, rule): (usize, &RateLimit)| {
            let limit = limit_name(route, number);
            let state = self.left(&limit);
            let place = key(&format!("rate_limit[{number}]"))?;
            Some(Limit { limit, allows: allowance(rule), state, place })
        };
        let rules = route.config.rate_limit.iter().enumerate().filter_map(rule);
        let body = key("body_limit").map(|place| Limit {
            limit: "body_limit".to_owned(),
            allows: format!("{} bytes", route.config.body_limit),
            state: None,
            place,
        });
        rules.chain(body).collect()
    }

    /// The statement of the answer about the rule with this name: `r=99;t=1`.
    fn left(&self, rule: &str) -> Option<String> {
        let stated = self.facts.rate_limits.as_deref()?;
        let mut rules = stated.split(", ");
        let left = rules.find_map(|one| one.strip_prefix(&format!("\"{rule}\";r=")))?;
        let (left, seconds) = left.split_once(";t=")?;
        Some(match left {
            "0" => format!("none left, the next in {seconds} s"),
            left => format!("{left} left, all in {seconds} s"),
        })
    }
}

/// The name of a rule for clients and in metrics.
pub(super) fn limit_name(route: &ServedRoute, number: usize) -> String {
    route.limits.names().nth(number).unwrap_or_default().to_owned()
}

/// The allowance of a rule, in words.
pub(super) fn allowance(rule: &RateLimit) -> String {
    let burst = match rule.burst == rule.requests {
        true => String::new(),
        false => format!(", {} at once", rule.burst),
    };
    format!("{} in {:?}{burst}", rule.requests, rule.per)
}
