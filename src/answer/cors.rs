//! Cross-origin calls (the CORS protocol of the Fetch standard): preflights are answered, and other
//! answers are marked.
//!
//! Browsers enforce CORS for the protection of their users. It is no access control: a program may
//! send any `Origin`. `pipeline` decides which rules hold for a request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, request};

use crate::body::{Body, Response};
use crate::dialect::{CorsOrigins, CorsPolicy};

/// The CORS fields of an upstream's answer. They are replaced by those of the gateway.
const FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// True for a preflight: an OPTIONS request from another origin that asks for a method.
pub(crate) fn is_preflight(head: &request::Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a preflight. For an origin that may not call, the answer has no permission in it, and
/// the browser refuses the call. The status is the configured one in both cases, as browsers expect
/// a success.
pub(crate) fn preflight(cors: &CorsPolicy, request: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(cors.preflight_status).unwrap_or(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    if allow_origin(cors, request.get(header::ORIGIN), headers) {
        set_list(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
        set_list(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    }
    response
}

/// Marks an answer, also a refusal: browsers would hide an unmarked answer from the page. Fields of
/// the upstream are removed first, since two rules would contradict each other.
pub(crate) fn mark(cors: &CorsPolicy, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
    for field in &FIELDS {
        response.remove(field);
    }
    if allow_origin(cors, origin, response) {
        set_list(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose);
    }
}

/// Allows the origin of the request if it may call, and records that the answer depends on it.
/// False if it may not. The origin is compared byte for byte with the list.
fn allow_origin(cors: &CorsPolicy, origin: Option<&HeaderValue>, response: &mut HeaderMap) -> bool {
    let allowed = match (&cors.origins, origin) {
        (CorsOrigins::Any, Some(_)) => Some(HeaderValue::from_static("*")),
        (CorsOrigins::Echo, Some(origin)) => Some(origin.clone()),
        (CorsOrigins::List(list), Some(origin)) => {
            list.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
        }
        (_, None) => None,
    };
    // Without `Vary`, a cache could give the answer for one origin to another one (RFC 9110,
    // section 12.5.5). It is set for refused origins as well. Otherwise a cached refusal would be
    // given to an origin that may call.
    if !matches!(cors.origins, CorsOrigins::Any) && !varies_by_origin(response) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(allowed) = allowed else { return false };
    // The standard forbids credentials together with `*`.
    if cors.credentials && allowed != "*" {
        response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    true
}

fn varies_by_origin(response: &HeaderMap) -> bool {
    let listed = response.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let mut names = listed.flat_map(|line| line.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
}

fn set_list(headers: &mut HeaderMap, name: HeaderName, list: &[String]) {
    if list.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&list.join(", ")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors(origins: CorsOrigins) -> CorsPolicy {
        CorsPolicy {
            origins,
            methods: vec!["GET".into()],
            headers: vec!["Authorization".into()],
            expose: Vec::new(),
            credentials: true,
            max_age: Duration::from_secs(86_400),
            preflight_status: 204,
        }
    }

    fn from_origin(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))])
    }

    #[test]
    fn a_star_never_goes_with_credentials() {
        let answer = preflight(&cors(CorsOrigins::Any), &from_origin("https://app.example"));

        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn an_origin_that_is_not_listed_gets_no_leave_and_the_answer_varies_by_origin() {
        let listed = cors(CorsOrigins::List(vec!["https://app.example".into()]));

        let answer = preflight(&listed, &from_origin("https://app.example.evil"));

        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(answer.headers()[header::VARY], "Origin");
    }

    #[test]
    fn the_upstreams_own_fields_are_replaced() {
        let mut answer = HeaderMap::new();
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let listed = cors(CorsOrigins::List(vec!["https://app.example".into()]));

        let origin = HeaderValue::from_static("https://evil.example");
        mark(&listed, Some(&origin), &mut answer);

        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn what_varies_by_origin_already_does_not_say_so_twice() {
        for (said, expected) in [("Accept, origin", 1), ("*", 1), ("Accept-Encoding", 2)] {
            let mut answer = HeaderMap::from_iter([(header::VARY, HeaderValue::from_static(said))]);

            mark(&cors(CorsOrigins::Echo), None, &mut answer);

            assert_eq!(answer.get_all(header::VARY).iter().count(), expected, "{said}");
        }
    }
}
