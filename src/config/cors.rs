//! `cors = {…}` of a login or a route: which web sites may call it from a browser.
//!
//! The values are sent in the answers to preflights as they are written here. Keys that are left
//! out have the dialect's value, if there is a dialect with one. The combination of credentials
//! with an unlimited list of origins is refused, because any site could then act as the user.

use std::time::Duration;

use http::{HeaderName, Method};

use super::item::SpannedValue;
use crate::dialect::{CorsOrigins, CorsPolicy};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS: &[&str] = &["Accept", "Authorization", "Content-Type"];
/// Short enough that a change reaches browsers soon.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Upper bound: browsers keep the result of a preflight no longer than a day.
const LONGEST_AGE: Duration = Duration::from_secs(86_400);

/// Reads a `cors` table; `base` has the values of the dialect.
pub(super) fn read(item: &SpannedValue<'_>, base: Option<&CorsPolicy>) -> Option<CorsPolicy> {
    let mut table = item.table()?;
    if base.is_none() {
        table.default_is("methods", METHODS.to_vec());
        table.default_is("headers", HEADERS.to_vec());
        table.default_is("credentials", false);
    }
    let origins = match table.get("origins") {
        Some(item) => read_origins(&item),
        None if base.is_some() => base.map(|base| base.origins.clone()),
        None => {
            table.issue("origins", "is missing: name origins, or [\"*\"] for any");
            None
        }
    };
    let base = base.cloned().unwrap_or_else(|| CorsPolicy {
        origins: CorsOrigins::List(Vec::new()),
        methods: METHODS.iter().map(|&name| name.to_owned()).collect(),
        headers: HEADERS.iter().map(|&name| name.to_owned()).collect(),
        expose: Vec::new(),
        credentials: false,
        max_age: MAX_AGE,
        preflight_status: 204,
    });
    let origins = origins.unwrap_or(base.origins);
    let credentials = table.get("credentials");
    let is_open = matches!(origins, CorsOrigins::Any | CorsOrigins::Echo);
    let with_credentials = credentials.as_ref().map_or(Some(base.credentials), SpannedValue::bool);
    // Browsers refuse credentials for `*`. With `echo` they would send them to every origin, which
    // lets any site use the session of a visitor. This holds also if the operator did not mean it,
    // so it is an error and not a warning.
    if with_credentials == Some(true) && is_open {
        let remedy = "needs a list of origins: any site could act as the user otherwise";
        match &credentials {
            Some(item) => item.issue(remedy),
            None => table
                .issue("origins", "goes along with the credentials of the dialect: name origins"),
        }
    }
    let status = table.number_or("preflight_status", base.preflight_status.into(), 200..=204);
    if status != 200 && status != 204 {
        table.issue("preflight_status", "must be 200 or 204");
    }
    let is_header = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_method = |name: &str| Method::from_bytes(name.as_bytes()).is_ok();
    Some(CorsPolicy {
        origins,
        methods: read_names(&table.list("methods"), "method", is_method).unwrap_or(base.methods),
        headers: read_names(&table.list("headers"), "header name", is_header)
            .unwrap_or(base.headers),
        expose: read_names(&table.list("expose"), "header name", is_header).unwrap_or(base.expose),
        credentials: with_credentials.unwrap_or(false),
        max_age: table.duration_or("max_age", base.max_age, Duration::ZERO..=LONGEST_AGE),
        // Invariant: the value is within the range, so it fits.
        preflight_status: u16::try_from(status).unwrap_or(204),
    })
}

fn read_names(
    list: &[SpannedValue<'_>],
    what: &str,
    fits: impl Fn(&str) -> bool,
) -> Option<Vec<String>> {
    if list.is_empty() {
        return None;
    }
    let name = |item: &SpannedValue<'_>| {
        let name = item.string()?;
        if !fits(name) {
            item.issue(format!("is no {what}"));
        }
        Some(name.to_owned())
    };
    Some(list.iter().filter_map(name).collect())
}

fn read_origins(item: &SpannedValue<'_>) -> Option<CorsOrigins> {
    let list = item.list()?;
    let names: Vec<&str> = list.iter().filter_map(SpannedValue::string).collect();
    match names.as_slice() {
        ["*"] => return Some(CorsOrigins::Any),
        ["echo"] => return Some(CorsOrigins::Echo),
        [] => {
            if list.is_empty() {
                item.issue("is empty: name origins, or [\"*\"] for any");
            }
            return None;
        }
        _ => {}
    }
    for item in &list {
        if item.is_text() && !item.string().is_some_and(is_origin) {
            item.issue("must be an origin as browsers send it, e.g. \"https://app.example\"");
        }
    }
    Some(CorsOrigins::List(names.into_iter().map(str::to_owned).collect()))
}

/// True for an origin in the form of browsers. It is compared with the field `Origin` byte for
/// byte, so upper case or a path would never match. Browsers send scheme, host and port in lower
/// case, without a path (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@']))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
}
