//! Removes the client's credentials from a request before it is forwarded.
//!
//! An upstream must not get a credential that it could use elsewhere in the client's name. A
//! credential is removed from the field, the cookie or the parameter of the query where it is; all
//! other bytes stay as they are. The pipeline calls `remove_credentials` after the decision.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode;

use super::{X_ACCESS_TOKEN, X_KEY};
use crate::dialect::Carrier;
use crate::dialect::server::lenient_name;

/// The text in place of a token in a `Referer`.
const HIDDEN: &str = "***";

/// The client's credentials that go along to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedCredential {
    /// None.
    Nothing,
    /// `Authorization`, which is the verified credential.
    Authorization,
    /// `X-Access-Token` and `X-Key`, which are the verified credential.
    TokenKey,
    /// The pair in the query, which is the verified credential.
    Query,
    /// The API key's field, which is the verified credential.
    ApiKey,
    /// The verified credential, in the carrier of its login with this number.
    Login(usize),
    /// The verified signature of the request.
    Signature,
    /// Everything: nothing was verified, and the route does not require it.
    All,
    /// Only the credential that the upstream itself verifies. Credentials of the gateway are
    /// removed.
    Passed {
        /// The scheme of `Authorization` is one that the route passes on.
        authorization: bool,
        /// The API key's field contains no key of the gateway.
        api_key: bool,
    },
}

/// The places of credentials that depend on the route.
#[derive(Clone, Copy, Debug, Default)]
pub struct CredentialFields<'a> {
    /// True if the route accepts credentials in the query. On other routes the query belongs to the
    /// upstream.
    pub in_query: bool,
    /// The field of API keys, if keys are accepted.
    pub api_key: Option<&'a HeaderName>,
    /// The places in which logins carry tokens.
    pub carriers: &'a [Carrier],
    /// Those of `carriers` that have the credential which goes along.
    pub kept: &'a [Carrier],
}

/// Removes the client's credentials, except `kept`.
pub fn remove_credentials(
    head: &mut Parts,
    kept: ForwardedCredential,
    fields: CredentialFields<'_>,
) {
    if kept == ForwardedCredential::All {
        return;
    }
    let stays = |name: &HeaderName| {
        fields.kept.iter().any(|place| match place {
            Carrier::Scheme(_) => *name == header::AUTHORIZATION,
            Carrier::Field(field) => name == field,
            _ => false,
        })
    };
    let is_passed = |kept| matches!(kept, ForwardedCredential::Passed { authorization: true, .. });
    if kept != ForwardedCredential::Authorization
        && !is_passed(kept)
        && !stays(&header::AUTHORIZATION)
    {
        head.headers.remove(header::AUTHORIZATION);
    }
    if kept != ForwardedCredential::TokenKey {
        for name in [X_ACCESS_TOKEN, X_KEY] {
            if !stays(&name) {
                head.headers.remove(name);
            }
        }
    }
    let keeps_key = matches!(
        kept,
        ForwardedCredential::ApiKey | ForwardedCredential::Passed { api_key: true, .. }
    );
    if let Some(name) = fields.api_key.filter(|name| !keeps_key && !stays(name)) {
        head.headers.remove(name);
    }
    for place in fields.carriers.iter().filter(|place| !fields.kept.contains(place)) {
        match place {
            Carrier::Field(name) => {
                head.headers.remove(name);
            }
            Carrier::Cookie(name) => remove_cookie(&mut head.headers, name),
            _ => {}
        }
    }
    let in_query = fields.in_query && kept != ForwardedCredential::Query;
    let names = QueryCredentials { in_query, carriers: fields.carriers, kept: fields.kept };
    if names.are_any() {
        remove_from_query(&mut head.uri, names);
        hide_in_referer(&mut head.headers, names);
    }
}

/// The names under which the query has credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryCredentials<'a> {
    /// True for `access_token` and `x_key`.
    pub in_query: bool,
    /// Of these places, the parameters of the query.
    pub carriers: &'a [Carrier],
    /// Those of `carriers` that stay.
    pub kept: &'a [Carrier],
}

impl QueryCredentials<'_> {
    fn are_any(self) -> bool {
        self.in_query || self.carriers.iter().any(|place| matches!(place, Carrier::Query(_)))
    }

    /// True if the pair is a credential. Names are compared decoded, because the upstream would
    /// decode them, too.
    fn has(self, pair: &str) -> bool {
        let Some((name, _)) = form_urlencoded::parse(pair.as_bytes()).next() else { return false };
        let name = lenient_name(&name);
        let is_carrier = |place: &&Carrier| matches!(place, Carrier::Query(known) if lenient_name(known) == name);
        (self.in_query && (name == "access_token" || name == "x_key"))
            || self
                .carriers
                .iter()
                .filter(|place| !self.kept.contains(place))
                .any(|it| is_carrier(&it))
    }

    /// True if the query has a credential.
    pub fn are_in(self, query: &str) -> bool {
        pairs(query).any(|(pair, _)| self.has(pair))
    }

    /// The query with `mark` in the place of each credential's value.
    pub fn hidden_in(self, query: &str, mark: &str) -> String {
        let shown = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if self.has(pair) => format!("{name}={mark}"),
            _ => pair.to_owned(),
        };
        pairs(query).map(|(pair, separator)| shown(pair) + separator).collect()
    }
}

/// The parameters of a query, each with the separator behind it. Some readers take `;` for one.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split_inclusive(['&', ';']).map(|piece| {
        let pair = piece.trim_end_matches(['&', ';']);
        (pair, piece.get(pair.len()..).unwrap_or_default())
    })
}

/// Removes credentials from the query. All other bytes of the query stay as they are.
pub fn remove_from_query(uri: &mut Uri, credentials: QueryCredentials<'_>) {
    let Some(query) = uri.query() else { return };
    if !credentials.are_in(query) {
        return;
    }
    let left = pairs(query).filter(|(pair, _)| !credentials.has(pair));
    let left: String = left.flat_map(|(pair, separator)| [pair, separator]).collect();
    let mut target = uri.path().to_owned();
    if !left.is_empty() {
        target.push('?');
        target.push_str(left.trim_end_matches(['&', ';']));
    }
    let mut parts = std::mem::take(uri).into_parts();
    // Invariant: removing parts of a valid target leaves a valid target. If that were wrong, the
    // request would go without its query rather than with the credential.
    parts.path_and_query =
        PathAndQuery::try_from(target).ok().or_else(|| Some(PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Removes a cookie from all fields, in whatever spelling. Other cookies stay as they are; a field
/// without any goes. PHP decodes the names of cookies, so an encoded name is the same name.
pub(super) fn remove_cookie(headers: &mut HeaderMap, wanted: &str) {
    let wanted = lenient_name(wanted);
    let is_wanted = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or(pair).trim_ascii();
        lenient_name(&percent_decode(name).decode_utf8_lossy()) == wanted
    };
    let pairs = |field: &HeaderValue| field.as_bytes().split(|byte| *byte == b';').any(is_wanted);
    if !headers.get_all(header::COOKIE).iter().any(pairs) {
        return;
    }
    let fields: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for field in fields {
        let left: Vec<&[u8]> =
            field.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_wanted(pair)).collect();
        let left = left.join(&b';');
        let left = left.trim_ascii();
        // Parts of a valid field are a valid field.
        if let Ok(field) = HeaderValue::from_bytes(left)
            && !left.is_empty()
        {
            headers.append(header::COOKIE, field);
        }
    }
}

/// Hides credentials in the query of `Referer`: the page that a browser comes from may have been
/// called with one.
fn hide_in_referer(headers: &mut HeaderMap, credentials: QueryCredentials<'_>) {
    // With two, nobody knows which one is read.
    if headers.get_all(header::REFERER).iter().count() > 1 {
        headers.remove(header::REFERER);
    }
    let Some(referer) = headers.get(header::REFERER) else { return };
    let text = String::from_utf8_lossy(referer.as_bytes());
    let Some((page, rest)) = text.split_once('?') else { return };
    let (query, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
    if !credentials.are_in(query) {
        return;
    }
    let query = credentials.hidden_in(query, HIDDEN);
    let hidden = format!("{page}?{query}{fragment}");
    match HeaderValue::from_str(&hidden) {
        Ok(hidden) => headers.insert(header::REFERER, hidden),
        Err(_) => headers.remove(header::REFERER),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_loses_its_credentials_and_nothing_else() {
        let carriers = [Carrier::Query("tok en".to_owned())];
        let names = QueryCredentials { in_query: true, carriers: &carriers, kept: &[] };
        for (target, expected, why) in [
            ("/f?access_token=a&x_key=b", "/f", "nothing is left"),
            ("/f?a=%20&access_token=t&b=+", "/f?a=%20&b=+", "the rest keeps its spelling"),
            ("/f?access%5Ftoken=t&c", "/f?c", "an encoded name is the same name"),
            ("/f?my_access_token=t", "/f?my_access_token=t", "another name"),
            ("/f?ACCESS_TOKEN=t&a", "/f?a", "some servers ignore case"),
            ("/f?access.token=t&a", "/f?a", "a dot is an underscore for PHP"),
            ("/f?a=1;access_token=t", "/f?a=1", "some servers separate by semicolons"),
            ("/f?tok%20en=t&a&tok+en=t", "/f?a", "the parameter of a login, every time"),
            ("/f?", "/f?", "an empty query stays"),
        ] {
            let mut uri = Uri::from_static(target);
            remove_from_query(&mut uri, names);
            assert_eq!(uri.to_string(), expected, "{why}");
        }
    }

    #[test]
    fn one_cookie_goes_and_the_others_stay() {
        for (fields, expected, why) in [
            (&["SID=t"][..], &[][..], "an empty field goes"),
            (&["a=1; SID=t; b=2"], &["a=1; b=2"], "from the middle"),
            (&["SID=t; a=1", "b=2; SID=u", "SID=v"], &["a=1", "b=2"], "from every field"),
            (&["%53ID=t; a=1"], &["a=1"], "a name that is decoded"),
            (&["SIDE=u; a=SID=t"], &["SIDE=u; a=SID=t"], "other names"),
            (&["sid=t; a=b"], &["a=b"], "some servers ignore case"),
            (&["SID; a=1"], &["a=1"], "without a value"),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::COOKIE, HeaderValue::from_static(field));
            }
            remove_cookie(&mut headers, "SID");
            let left: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(left, expected, "{why}");
        }
    }

    #[test]
    fn a_referer_shows_no_token() {
        let carriers = [Carrier::Query("token".to_owned())];
        let names = QueryCredentials { in_query: false, carriers: &carriers, kept: &[] };
        let mut headers = HeaderMap::new();
        let referer = "https://a.example/p?a=1&token=t#token=x";
        headers.insert(header::REFERER, HeaderValue::from_static(referer));
        hide_in_referer(&mut headers, names);
        assert_eq!(headers[header::REFERER], "https://a.example/p?a=1&token=***#token=x");
    }
}
