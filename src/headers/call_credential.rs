//! Puts the credential of a session at an upstream into a request to it.
//!
//! It replaces whatever stands in its places, in every spelling that an upstream may take for the
//! same, so that nobody else decides as whom the request goes. `upstream::forward` calls it last.

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use super::credential_removal::{QueryCredentials, remove_cookie, remove_from_query};
use super::remove_where;
use crate::dialect::Carrier;
use crate::dialect::client::CallCredential;
use crate::dialect::server::lenient_name;

/// Sets the credential. `false` if the request cannot carry it; it must not be sent then.
#[must_use]
pub fn set_call_credential(
    headers: &mut HeaderMap,
    uri: &mut Uri,
    credential: &CallCredential,
) -> bool {
    for (name, value) in &credential.fields {
        let own = folded(name);
        remove_where(headers, |other| folded(other) == own);
        headers.insert(name.clone(), value.clone());
    }
    set_cookies(headers, credential) && set_query(uri, credential)
}

/// The name as CGI has it: a dash for every mark.
fn folded(name: &HeaderName) -> String {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' };
    name.as_str().bytes().map(fold).collect()
}

fn set_cookies(headers: &mut HeaderMap, credential: &CallCredential) -> bool {
    if credential.cookies.is_empty() {
        return true;
    }
    for (name, _) in &credential.cookies {
        remove_cookie(headers, name);
    }
    // One field: some servers read only the first one (RFC 6265, section 5.4).
    let own = credential.cookies.iter();
    let own: Vec<String> = own.map(|(name, value)| format!("{name}={}", value.expose())).collect();
    let others = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let all: Vec<&[u8]> = others.chain(own.iter().map(String::as_bytes)).collect();
    let Ok(mut field) = HeaderValue::from_bytes(&all.join(&b"; "[..])) else { return false };
    field.set_sensitive(true);
    headers.insert(COOKIE, field);
    true
}

fn set_query(uri: &mut Uri, credential: &CallCredential) -> bool {
    if credential.query.is_empty() {
        return true;
    }
    let name = |(name, _): &(String, _)| Carrier::Query(lenient_name(name));
    let carriers: Vec<Carrier> = credential.query.iter().map(name).collect();
    let names = QueryCredentials { in_query: false, carriers: &carriers, kept: &[] };
    remove_from_query(uri, names);
    let mut own = form_urlencoded::Serializer::new(String::new());
    own.extend_pairs(credential.query.iter().map(|(name, value)| (name, value.expose())));
    let own = own.finish();
    let query = match uri.query().unwrap_or_default() {
        "" => own,
        others => format!("{others}&{own}"),
    };
    let Ok(target) = PathAndQuery::try_from(format!("{}?{query}", uri.path())) else {
        return false;
    };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).is_ok_and(|with_query| {
        *uri = with_query;
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_what_a_client_sent_in_its_places() {
        let credential = CallCredential {
            fields: vec![(
                HeaderName::from_static("x-auth-token"),
                HeaderValue::from_static("own"),
            )],
            cookies: vec![("SID".to_owned(), "own".into()), ("K".to_owned(), "k".into())],
            query: vec![("token".to_owned(), "o&n".into())],
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-auth-token", "evil"),
            ("x_auth_token", "evil"),
            ("x.auth-token", "evil"),
            ("cookie", "a=1; sid=evil"),
            ("cookie", "%53ID=evil"),
            ("cookie", "b=2"),
        ] {
            let name = name.parse::<HeaderName>().unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut uri = Uri::from_static("/p?TOKEN=evil&x=%20&to%6ben=evil");

        assert!(set_call_credential(&mut headers, &mut uri, &credential));

        assert_eq!(uri, "/p?x=%20&token=o%26n");
        assert_eq!(headers.get_all("x-auth-token").iter().collect::<Vec<_>>(), ["own"]);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; SID=own; K=k"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn a_request_without_anything_gets_it_too() {
        let credential = CallCredential {
            cookies: vec![("SID".to_owned(), "own".into())],
            query: vec![("token".to_owned(), "t".into())],
            ..CallCredential::default()
        };
        let mut headers = HeaderMap::new();
        let mut uri = Uri::from_static("/p");

        assert!(set_call_credential(&mut headers, &mut uri, &credential));

        assert_eq!(uri, "/p?token=t");
        assert_eq!(headers[COOKIE], "SID=own");
    }
}
