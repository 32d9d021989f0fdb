//! What a route does with a request that is permitted: forward it, send the client elsewhere, or
//! give a fixed answer.

use bytes::Bytes;
use http::Uri;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION};
use toml::Table as Printed;

use super::files::Privacy;
use super::headers::is_framing;
use super::item::Item;
use super::known::Known;
use super::out::Out;
use super::reader::Table;

/// One of three, where a route says which.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// To the `[[upstream]]` of this name.
    Forward(String),
    Redirect(Redirect),
    Respond(Respond),
}

/// `redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// An http(s) URL, or a path on the same host; without a slash at its end.
    pub to: String,
    pub status: u16,
    /// Append path and query as they were asked for.
    pub keep_path: bool,
}

/// `respond`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    pub status: u16,
    /// `Content-Type` and what `headers` says.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Keys that are about forwarding.
const FORWARDING: [&str; 8] = [
    "strip_prefix",
    "replace_prefix",
    "identity",
    "identity_header",
    "forward_credential",
    "request_headers",
    "mirror",
    "compression",
];

impl RouteAction {
    pub(super) fn read(table: &mut Table<'_>, known: &Known) -> Self {
        let (upstream, redirect) = (table.get("upstream"), table.get("redirect"));
        let respond = table.get("respond");
        let given = [&upstream, &redirect, &respond].into_iter().flatten().count();
        if given != 1 {
            table.issue("upstream", "needs exactly one of upstream, redirect and respond");
        }
        let own = redirect.is_some() || respond.is_some();
        for key in FORWARDING.into_iter().filter(|key| own && table.has(key)) {
            table.issue(key, "is of no use: nothing is forwarded");
        }
        let redirect = redirect.and_then(|item| item.table()).map(Redirect::read);
        let respond = respond.and_then(|item| item.table()).map(Respond::read);
        match (redirect, respond) {
            (Some(redirect), _) => Self::Redirect(redirect),
            (None, Some(respond)) => Self::Respond(respond),
            (None, None) => {
                let upstream = upstream.and_then(|item| known.upstreams.refer(&item));
                Self::Forward(upstream.unwrap_or_default())
            }
        }
    }

    /// The upstream that is forwarded to.
    pub fn upstream(&self) -> Option<&str> {
        match self {
            Self::Forward(upstream) => Some(upstream),
            Self::Redirect(_) | Self::Respond(_) => None,
        }
    }

    pub(super) fn print(&self, out: Out) -> Out {
        match self {
            Self::Forward(upstream) => out.text("upstream", upstream),
            Self::Redirect(redirect) => out.sub("redirect", redirect.print()),
            Self::Respond(respond) => out.sub("respond", respond.print()),
        }
    }
}

impl Redirect {
    /// Those that lead elsewhere; 308 keeps the method, and is remembered.
    const STATUSES: [u64; 5] = [301, 302, 303, 307, 308];

    fn read(mut table: Table<'_>) -> Self {
        let to = table.required("to", "for example \"https://new.example\"");
        let keep_path = table.bool_or("keep_path", true);
        let status = table.get("status");
        let chosen = status.as_ref().and_then(|item| item.number(300..=399)).unwrap_or(308);
        if let Some(item) = status.filter(|_| !Self::STATUSES.contains(&chosen)) {
            item.issue("must be 301, 302, 303, 307 or 308");
        }
        Self {
            to: to.and_then(|item| read_to(&item, keep_path)).unwrap_or_default(),
            // Invariant: within the range, so it fits.
            status: u16::try_from(chosen).unwrap_or(308),
            keep_path,
        }
    }

    fn print(&self) -> Printed {
        Out::default()
            .text("to", &self.to)
            .int("status", self.status)
            .flag("keep_path", self.keep_path)
            .table()
    }
}

/// Where clients are sent. A path that the client's own follows must be one: after nothing, a path
/// that begins with two slashes would name another host.
fn read_to(item: &Item<'_>, keep_path: bool) -> Option<String> {
    let text = item.text()?;
    let parsed: Option<Uri> = text.parse().ok();
    let is_url = parsed.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    let is_path = parsed.is_some_and(|uri| uri.authority().is_none())
        && text.starts_with('/')
        && !text.starts_with("//");
    let bare = text.trim_end_matches('/');
    if !(is_url || is_path) || text.contains('\\') {
        item.issue("must be an http:// or https:// URL, or a path on the same host");
    } else if keep_path && text.contains(['?', '#']) {
        item.issue("has a query, which what is asked for cannot follow: say keep_path = false");
    } else if keep_path && bare.is_empty() {
        item.issue("leads to where the client is already");
    }
    Some(if keep_path { bare.to_owned() } else { text.to_owned() })
}

impl Respond {
    fn read(mut table: Table<'_>) -> Self {
        let status = table.number_or("status", 200, 200..=599);
        // Invariant: within the range, so it fits.
        let status = u16::try_from(status).unwrap_or(200);
        let content_type = table.get("content_type");
        let mut headers = Vec::new();
        let body = read_body(&mut table);
        let fallback = (!body.is_empty()).then_some("text/plain; charset=utf-8");
        let content_type = content_type.as_ref().and_then(Item::text).or(fallback);
        if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.push((http::header::CONTENT_TYPE, value));
        }
        for (name, item) in table.table("headers").entries() {
            match read_field(&name, &item) {
                Some(field) => headers.push(field),
                None => item.issue("must be a header field that the gateway may set, and text"),
            }
        }
        let bodyless = matches!(status, 204 | 304);
        if bodyless && !body.is_empty() {
            table.issue("body", "cannot be sent with this status");
        }
        Self { status, headers, body }
    }

    fn print(&self) -> Printed {
        let headers = self.headers.iter().fold(Out::default(), |out, (name, value)| {
            out.text(name.as_str(), String::from_utf8_lossy(value.as_bytes()))
        });
        Out::default()
            .int("status", self.status)
            .text("body", String::from_utf8_lossy(&self.body))
            .sub("headers", headers.table())
            .table()
    }
}

fn read_body(table: &mut Table<'_>) -> Bytes {
    let (body, file) = (table.get("body"), table.get("file"));
    match (&body, &file) {
        (Some(_), Some(item)) => {
            item.issue("and body say the same thing twice: leave one out");
            Bytes::new()
        }
        (Some(item), None) => Bytes::copy_from_slice(item.text().unwrap_or_default().as_bytes()),
        (None, Some(item)) => {
            item.read_file(Privacy::Public).map(|(_, bytes)| bytes.into()).unwrap_or_default()
        }
        (None, None) => Bytes::new(),
    }
}

fn read_field(name: &str, item: &Item<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    let ours = [CONTENT_LENGTH, LOCATION].contains(&name) || is_framing(name.as_str());
    let value = HeaderValue::from_str(item.text()?).ok()?;
    (!ours).then_some((name, value))
}
