//! Every place that an answer can have a token in: what is put in is read back.

use proptest::prelude::*;

use super::*;

/// The facts of a login that gives these values.
fn given(token: &str, key: &str, name: &str) -> TemplateValues {
    let profile = UserProfile { name: name.to_owned(), ..UserProfile::default() };
    let value = |token: &str| TokenValues {
        token: token.into(),
        id: String::new(),
        issued: NOW,
        expires: ENDS,
    };
    TemplateValues {
        now: NOW,
        user: Some(UserValues { id: "7".to_owned(), profile }),
        session: Some(SessionValues {
            id: "s1".to_owned(),
            csrf: None,
            key: Some(key.into()),
            created: NOW,
            expires: ENDS,
        }),
        access: Some(value(token)),
        refresh: Some(value("r.e.f")),
        ..TemplateValues::default()
    }
}

/// Replies with token, key and name in each kind of place, and whether that place can have any text.
const REPLIES: [(&str, PlaceKind); 8] = [
    (
        "json = { a = { t = 'JWT $access.token' }, k = '$session.key', n = '$user.name', e = '$access.expires_rfc1123' }",
        PlaceKind::Any,
    ),
    (
        "form = { t = '$access.token', k = '$session.key', n = '$user.name', e = '$access.ttl', ok = 1 }",
        PlaceKind::Any,
    ),
    (
        "text = \"OK\\nk=$session.key\\nt=$access.token\\nn=$user.name\\ne=$access.expires_ms\"",
        PlaceKind::Any,
    ),
    (
        "xml = '<s:E xmlns:s=\"urn:s\"><s:B ok=\"1\"><t k=\"$session.key\">$access.token</t><n>$user.name</n><e>$access.expires</e><none/></s:B></s:E>'",
        PlaceKind::Any,
    ),
    (
        "content_type = 'text/html'\ntext = '<!DOCTYPE html><p>$user.name<p>$session.key<a href=\"/x?t=$access.token\">go</a><i>$access.ttl</i>'",
        PlaceKind::Any,
    ),
    (
        "headers = { X-T = '$access.token', X-K = '$session.key', X-N = '$user.name', X-E = '$access.ttl_ms' }",
        PlaceKind::Field,
    ),
    (
        "headers = { X-N = '$user.name' }\ncookies = [{ name = 'SID', value = 'v1:$access.token', max_age = '$access.ttl' }, { name = 'K', value = '$session.key' }]",
        PlaceKind::Cookie,
    ),
    (
        "status = 303\nheaders = { Location = '/home?t=$access.token&k=$session.key', X-N = '$user.name' }\ncookies = [{ name = 'E', value = 'x', max_age = '$access.ttl' }]",
        PlaceKind::Url,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum PlaceKind {
    Any,
    Field,
    Cookie,
    Url,
}

fn values() -> impl Strategy<Value = (usize, String, String, String)> {
    (0..REPLIES.len()).prop_flat_map(|number| {
        let (secret, name) = match REPLIES[number].1 {
            PlaceKind::Any => ("[!-~]{1,40}", "[^\\s\\pC]\\PC{0,20}"),
            PlaceKind::Field => ("[!-~]{1,40}", "[!-~]([ -~]{0,20}[!-~])?"),
            PlaceKind::Cookie => ("[A-Za-z0-9+/=._~-]{1,40}", "[!-~]{1,20}"),
            PlaceKind::Url => ("[A-Za-z0-9+/=._~-]{1,40}", "[!-~]{1,20}"),
        };
        (Just(number), secret, secret, name)
    })
}

proptest! {
    /// Whatever is put into an answer is read from it again, in every place.
    #[test]
    fn what_is_rendered_is_read_back((number, token, key, name) in values()) {
        let (reply, _) = REPLIES[number];
        let dialect = own(&format!("credential = [{{ basic = {{}} }}]\n[endpoint.reply]\n{reply}"));
        let endpoint = &dialect.endpoints[0];
        let answer = server::render(&endpoint.reply, &given(&token, &key, &name), &dialect);

        let heard = accepted(heard(&dialect, endpoint, &answer));

        prop_assert_eq!(heard.access_token.as_ref(), Some(&SecretString::from(token.as_str())));
        prop_assert_eq!(heard.key.as_ref(), Some(&SecretString::from(key.as_str())));
        prop_assert_eq!(heard.name.as_ref(), Some(&name));
        prop_assert_eq!(heard.expires(NOW), Some(ENDS));
        prop_assert_eq!(dialect.delegates(), Ok(()));
    }

    /// No header, cookie or body makes it panic, or makes a success without a token.
    #[test]
    fn any_head_and_body_may_come(
        fields in prop::collection::vec(
            (prop_oneof![Just("x-t"), Just("x-k"), Just("location"), Just("set-cookie")],
             "(SID|K|/home|https://a)?[ -~]{0,20}(; ?(Max-Age|Expires)=[ -~]{0,30})?"),
            0..5,
        ),
        body in "(OK\n)?(<s:E xmlns:s=\"urn:s\">)?[<>/a-z\"=&;{}:\n \u{f8ff}]{0,40}",
        status in prop_oneof![Just(200_u16), Just(303), 100_u16..600],
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().expect("visible"));
        }
        for (reply, _) in REPLIES {
            let dialect = own(&format!("credential = [{{ basic = {{}} }}]\n[endpoint.reply]\n{reply}"));
            let answer = ReceivedAnswer { status, headers: &headers, body: body.as_bytes() };
            if let LoginOutcome::Accepted(values) =
                parse_response(&dialect, &dialect.endpoints[0], &answer)
            {
                prop_assert!(values.access_token.is_some() && values.key.is_some());
            }
        }
    }
}
