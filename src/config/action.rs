//! The action of a route for a permitted request: forward it, redirect the client, or answer with a
//! fixed response.
//!
//! Exactly one of the three is configured. Settings about forwarding are refused for the other two,
//! because they would have no effect. Bodies of fixed answers are read while the configuration is
//! checked and are kept in memory.

use std::path::PathBuf;

use bytes::Bytes;
use http::Uri;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};

use super::files::FilePrivacy;
use super::headers::is_framing;
use super::item::SpannedValue;
use super::reader::TableReader;
use super::references::References;
use crate::settings::{RedirectAction, RespondAction, RouteAction};

/// Keys about forwarding and about the upstream's answers.
pub(super) const FORWARDING: [&str; 14] = [
    "strip_prefix",
    "replace_prefix",
    "identity",
    "identity_header",
    "forward_credential",
    "pass",
    "request_headers",
    "mirror",
    "compression",
    "allow_method_override",
    "allow_headers",
    "close_at",
    "close_notice",
    "max_tunnels",
];

/// Upper bound on a body. Bodies stay in memory; a file server should serve larger ones.
const LARGEST_BODY: usize = 1 << 20;
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl RouteAction {
    pub(super) fn read(table: &mut TableReader<'_>, known: &References) -> Self {
        let [upstream, redirect, respond] = table.one_of(["upstream", "redirect", "respond"]);
        // With two actions it would depend on the code which one wins, and with none there is
        // nothing to do. A route that an operator has just changed from one to the other often has
        // both.
        let given = [&upstream, &redirect, &respond].into_iter().flatten().count();
        if given != 1 {
            table.issue("upstream", "needs exactly one of upstream, redirect and respond");
        }
        let own = redirect.is_some() || respond.is_some();
        for key in FORWARDING.into_iter().filter(|key| own && table.has(key)) {
            table.issue(key, "is of no use: nothing is forwarded");
        }
        let redirect = redirect.and_then(|item| item.table()).map(RedirectAction::read);
        let respond = respond.and_then(|item| item.table()).map(RespondAction::read);
        match (redirect, respond) {
            (Some(redirect), _) => Self::Redirect(redirect),
            (None, Some(respond)) => Self::Respond(respond),
            (None, None) => {
                let upstream = upstream.and_then(|item| known.upstreams.refer(&item));
                Self::Forward(upstream.unwrap_or_default())
            }
        }
    }
}

impl RedirectAction {
    /// The statuses that redirect (RFC 9110, section 15.4). 308, the default, keeps the method, and
    /// browsers remember it. 301 and 302 let clients turn a POST into a GET, for clients that
    /// expect that.
    const STATUSES: [u64; 5] = [301, 302, 303, 307, 308];

    fn read(mut table: TableReader<'_>) -> Self {
        let to = table.required("to", "for example \"https://new.example\"");
        let keep_path = table.bool_or("keep_path", true);
        table.default_is("status", 308);
        let status = table.get("status");
        let chosen = status.as_ref().and_then(|item| item.number(300..=399)).unwrap_or(308);
        if let Some(item) = status.filter(|_| !Self::STATUSES.contains(&chosen)) {
            item.issue("must be 301, 302, 303, 307 or 308");
        }
        Self {
            to: to.and_then(|item| read_to(&item, keep_path)).unwrap_or_default(),
            // Invariant: the value is within the range, so it fits.
            status: u16::try_from(chosen).unwrap_or(308),
            keep_path,
        }
    }
}

/// Reads the target of a redirect. If the path of the request is appended, the target's own path
/// must not end with a slash: the result could begin with `//`, which names another host (an open
/// redirect).
fn read_to(item: &SpannedValue<'_>, keep_path: bool) -> Option<String> {
    let text = item.string()?;
    let parsed: Option<Uri> = text.parse().ok();
    let is_url = parsed.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    // `//host` has an authority without a scheme, and browsers read `\` as `/`. Both would lead to
    // another host. The gateway would then lead users to a site of somebody else's choice (an open
    // redirect).
    let is_path = parsed.is_some_and(|uri| uri.authority().is_none())
        && text.starts_with('/')
        && !text.starts_with("//");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let bare = text.trim_end_matches('/');
    if !(is_url || is_path) || !is_plain {
        item.issue("must be an http:// or https:// URL, or a path on the same host");
    } else if keep_path && text.contains(['?', '#']) {
        item.issue("has a query, which what is asked for cannot follow: say keep_path = false");
    } else if keep_path && bare.is_empty() {
        item.issue("leads to where the client is already");
    }
    Some(if keep_path { bare.to_owned() } else { text.to_owned() })
}

impl RespondAction {
    fn read(mut table: TableReader<'_>) -> Self {
        // Invariant: the value is within the range, so it fits.
        let status = u16::try_from(table.number_or("status", 200, 200..=599)).unwrap_or(200);
        let content_type = table.get("content_type");
        let (body, file) = read_body(&mut table, content_type.is_some());
        // These statuses have no body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5). A body would
        // be taken for the next response. The client would then read the beginning of it as a
        // status line, and every later answer on this connection would be wrong.
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            table.issue("status", "is of answers without a body: leave body and file out");
        }
        let content_type = match content_type {
            Some(item) => read_content_type(&item),
            None => (!body.is_empty()).then_some(TEXT),
        };
        let fields = table.table("headers").entries();
        let headers = fields.iter().filter_map(|(name, item)| read_field(name, item)).collect();
        Self { status, content_type, headers, body, file }
    }
}

/// Reads the body, and the file that contains it. Without a content type it must be text.
fn read_body(table: &mut TableReader<'_>, is_typed: bool) -> (Bytes, Option<PathBuf>) {
    let [body, file] = table.at_most_one_of(["body", "file"]);
    if let (Some(_), Some(item)) = (&body, &file) {
        item.issue("and body say the same thing twice: leave one out");
        return Default::default();
    }
    let (Some(item), is_file) = (body.as_ref().or(file.as_ref()), file.is_some()) else {
        return Default::default();
    };
    let (path, bytes) = match is_file {
        true => match item.read_file(FilePrivacy::Public) {
            Some((path, bytes)) => (Some(path), Bytes::from(bytes)),
            None => return Default::default(),
        },
        false => (None, Bytes::copy_from_slice(item.string().unwrap_or_default().as_bytes())),
    };
    if bytes.len() > LARGEST_BODY {
        item.issue("is larger than 1 MiB: have an upstream serve it");
    } else if !is_typed && str::from_utf8(&bytes).is_err() {
        item.issue("is not UTF-8 text: say what it is in content_type");
    }
    (bytes, path)
}

fn read_content_type(item: &SpannedValue<'_>) -> Option<HeaderValue> {
    let text = item.string()?;
    let value = HeaderValue::from_str(text).ok().filter(|_| text.contains('/'));
    if value.is_none() {
        item.issue("must be a media type, for example \"text/html; charset=utf-8\"");
    }
    value
}

/// Reads one header field of a fixed answer. Fields with a key of their own, and those that frame
/// the message, are refused. Values are visible ASCII: other bytes are read differently by
/// different clients.
fn read_field(name: &str, item: &SpannedValue<'_>) -> Option<(HeaderName, HeaderValue)> {
    let field = HeaderName::try_from(name).ok();
    let value = HeaderValue::from_str(item.string()?).ok();
    let ours = match &field {
        Some(name) if *name == CONTENT_TYPE => Some("stands in content_type"),
        Some(name) if *name == LOCATION => Some("is what redirect is for"),
        Some(name) if is_framing(name.as_str()) => Some("frames the message: it is set by itself"),
        _ => None,
    };
    match (field, value, ours) {
        (Some(name), Some(value), None) => return Some((name, value)),
        (_, _, Some(remedy)) => item.issue(remedy),
        _ => item.issue("must be the name of a header field, and visible ASCII letters"),
    }
    None
}
