//! Puts a credential of the gateway into a request to an upstream or another system.
//!
//! Whatever the client or a route's rules have put into its places is removed first, in every
//! spelling that some server reads as the same place. A place then has the gateway's credential, or
//! nothing. `upstream` calls it last of all, so that nobody else decides as whom the request goes.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use super::credential_removal::{QueryCredentials, remove_cookie, remove_from_query};
use super::inbound::alias_of;
use super::remove_where;
use crate::dialect::Carrier;
use crate::dialect::client::CallCredential;
use crate::secret::SecretString;

/// A value that its place cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be written in its place")]
pub struct UnwritableValue;

/// Sets the credential of a session at another system.
///
/// # Errors
/// The request cannot carry it, and must not be sent.
pub fn set_call_credential(
    uri: &mut Uri,
    headers: &mut HeaderMap,
    credential: &CallCredential,
) -> Result<(), UnwritableValue> {
    for (name, value) in &credential.fields {
        remove_where(headers, |other| alias_of(other.as_str(), name));
        headers.insert(name.clone(), value.clone());
    }
    for (name, _) in &credential.cookies {
        remove_cookie(headers, name);
    }
    for (name, _) in &credential.query {
        clear(uri, headers, &Carrier::Query(name.clone()));
    }
    add_cookies(headers, &credential.cookies)?;
    add_to_query(uri, &credential.query)
}

/// Sets the value at `place`; without a value the place is left empty.
///
/// # Errors
/// The value cannot be written there, and the place is empty.
pub(crate) fn set_carried(
    uri: &mut Uri,
    headers: &mut HeaderMap,
    place: &Carrier,
    value: Option<&SecretString>,
) -> Result<(), UnwritableValue> {
    clear(uri, headers, place);
    let Some(value) = value else { return Ok(()) };
    match place {
        Carrier::Scheme(scheme) => {
            let separator = if scheme.is_empty() { "" } else { " " };
            let field = secret(&[scheme, separator, value.expose()])?;
            headers.insert(header::AUTHORIZATION, field);
        }
        Carrier::Field(name) => {
            headers.insert(name.clone(), secret(&[value.expose()])?);
        }
        Carrier::Cookie(name) => add_cookies(headers, &[(name.clone(), value.clone())])?,
        Carrier::Query(name) => add_to_query(uri, &[(name.clone(), value.clone())])?,
        // The check of a configuration refuses them: a request that goes through has no variables,
        // and its body is the client's.
        Carrier::Variable(_) | Carrier::Member(..) => return Err(UnwritableValue),
    }
    Ok(())
}

/// Removes everything at the place.
fn clear(uri: &mut Uri, headers: &mut HeaderMap, place: &Carrier) {
    match place {
        Carrier::Scheme(_) => {
            headers.remove(header::AUTHORIZATION);
        }
        Carrier::Field(name) => remove_where(headers, |other| alias_of(other.as_str(), name)),
        Carrier::Cookie(name) => remove_cookie(headers, name),
        Carrier::Query(_) => {
            let carriers = std::slice::from_ref(place);
            remove_from_query(uri, QueryCredentials { in_query: false, carriers, kept: &[] });
        }
        Carrier::Variable(_) | Carrier::Member(..) => {}
    }
}

fn secret(parts: &[&str]) -> Result<HeaderValue, UnwritableValue> {
    let whole = SecretString::new(parts.concat());
    let mut value = HeaderValue::from_str(whole.expose()).map_err(|_| UnwritableValue)?;
    value.set_sensitive(true);
    Ok(value)
}

fn add_cookies(
    headers: &mut HeaderMap,
    cookies: &[(String, SecretString)],
) -> Result<(), UnwritableValue> {
    if cookies.is_empty() {
        return Ok(());
    }
    // One field: some servers read only the first one (RFC 6265, section 5.4).
    let own = cookies.iter().map(|(name, value)| format!("{name}={}", value.expose()));
    let own: Vec<SecretString> = own.map(SecretString::new).collect();
    let others = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let all: Vec<&[u8]> = others.chain(own.iter().map(|pair| pair.expose().as_bytes())).collect();
    let field = HeaderValue::from_bytes(&all.join(&b"; "[..]));
    let mut field = field.map_err(|_| UnwritableValue)?;
    field.set_sensitive(true);
    headers.insert(header::COOKIE, field);
    Ok(())
}

fn add_to_query(
    uri: &mut Uri,
    parameters: &[(String, SecretString)],
) -> Result<(), UnwritableValue> {
    if parameters.is_empty() {
        return Ok(());
    }
    let mut own = form_urlencoded::Serializer::new(String::new());
    own.extend_pairs(parameters.iter().map(|(name, value)| (name, value.expose())));
    let own = own.finish();
    let target = match uri.query() {
        Some(query) if !query.is_empty() => format!("{}?{query}&{own}", uri.path()),
        _ => format!("{}?{own}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| UnwritableValue)?);
    *uri = Uri::from_parts(parts).map_err(|_| UnwritableValue)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    /// The target and the fields after the value was set.
    fn set(
        place: &Carrier,
        target: &'static str,
        fields: &[(&'static str, &'static str)],
        value: Option<&str>,
    ) -> (String, Vec<String>) {
        let mut uri = Uri::from_static(target);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let value = value.map(SecretString::from);
        set_carried(&mut uri, &mut headers, place, value.as_ref()).unwrap();
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        (uri.to_string(), headers.iter().map(field).collect())
    }

    #[test]
    fn the_place_has_the_gateways_value_and_nothing_of_the_clients() {
        let field = Carrier::Field(HeaderName::from_static("x-auth-token"));
        let cookie = Carrier::Cookie("SID".to_owned());
        let query = Carrier::Query("to ken".to_owned());
        let bearer = Carrier::bearer();
        for (place, target, sent, expected_target, expected) in [
            (
                &bearer,
                "/a",
                &[("authorization", "Basic eA==")][..],
                "/a",
                &["authorization: Bearer T"][..],
            ),
            (
                &field,
                "/a",
                &[
                    ("x-auth-token", "1"),
                    ("x_auth_token", "2"),
                    ("x.auth.token", "3"),
                    ("x-a", "4"),
                ],
                "/a",
                &["x-a: 4", "x-auth-token: T"],
            ),
            (&cookie, "/a", &[("cookie", "a=1; sid=9; b=2")], "/a", &["cookie: a=1; b=2; SID=T"]),
            (&cookie, "/a", &[("cookie", "%53ID=9")], "/a", &["cookie: SID=T"]),
            (&query, "/a?x=1&to%20ken=9&TO+KEN=8", &[], "/a?x=1&to+ken=T", &[]),
            (&query, "/a", &[], "/a?to+ken=T", &[]),
        ] {
            let (target, fields) = set(place, target, sent, Some("T"));
            assert_eq!(
                (target.as_str(), fields.as_slice()),
                (
                    expected_target,
                    &expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{place}"
            );
        }
    }

    #[test]
    fn without_a_value_the_place_is_empty() {
        let field = Carrier::Field(HeaderName::from_static("x-auth-token"));
        let sent =
            &[("x_auth_token", "1"), ("authorization", "Bearer 2"), ("cookie", "SID=3; a=b")];
        for (place, expected) in [
            (Carrier::bearer(), "cookie: SID=3; a=b"),
            (Carrier::Cookie("SID".to_owned()), "cookie: a=b"),
        ] {
            let (_, fields) = set(&place, "/", sent, None);
            assert!(fields.iter().any(|field| field == expected), "{place}: {fields:?}");
        }
        let (_, fields) = set(&field, "/", sent, None);
        assert!(!fields.iter().any(|field| field.contains("auth_token")), "{fields:?}");
    }

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

        set_call_credential(&mut uri, &mut headers, &credential).unwrap();

        assert_eq!(uri, "/p?x=%20&token=o%26n");
        assert_eq!(headers.get_all("x-auth-token").iter().collect::<Vec<_>>(), ["own"]);
        assert_eq!(
            headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2; SID=own; K=k"]
        );
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

        set_call_credential(&mut uri, &mut headers, &credential).unwrap();

        assert_eq!(uri, "/p?token=t");
        assert_eq!(headers[header::COOKIE], "SID=own");
    }
}
