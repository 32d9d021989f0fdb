//! `request_headers` and `response_headers` of a route: header fields to set and to remove.
//!
//! Fields that frame a message, and fields by which the gateway identifies the caller to the
//! upstream, belong to the gateway. No rule may set or remove them, in any spelling (`_` for `-`,
//! any case): an upstream would otherwise read a value that the gateway did not vouch for. Values
//! may contain placeholders, which are parsed here and filled in for each request.

use http::header::HeaderName;

use super::item::SpannedValue;
use super::reader::TableReader;
use super::suggest::did_you_mean;
use super::template_text::{TextPiece, pieces};
use crate::headers::is_foreign;
use crate::settings::{HeaderRules, ValuePart, ValueTemplate};

/// Fields that concern only two neighbours (hop-by-hop, RFC 9110, section 7.6.1), and those that
/// frame a message. A wrong value here could desynchronise a connection (request smuggling). The
/// gateway writes these fields itself for each connection.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that the gateway itself sets. Credentials are controlled by `forward_credential`.
const OURS: &[&str] = &[
    "authorization",
    "forwarded",
    "via",
    "x-access-token",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-key",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
];
const IDENTITY: &str = "x-auth-";

impl HeaderRules {
    /// Reads the rules for requests, which must not touch any field of the gateway.
    pub(super) fn read_request(mut table: TableReader<'_>) -> Self {
        let set = table.table("set").entries();
        let set = set.iter().filter_map(|(name, item)| read_set(name, item, &[FRAMING, OURS]));
        let set = set.collect();
        let remove = table.list("remove");
        // A rule may remove a credential that the gateway removes anyway; that changes nothing.
        let ours: Vec<&str> = OURS.iter().copied().filter(|name| !is_credential(name)).collect();
        let remove =
            remove.iter().filter_map(|item| read_remove(item, &[FRAMING, &ours])).collect();
        Self { set, remove }
    }

    /// Reads the rules for responses. Only framing is protected there: a response proves nothing
    /// about the caller. Names of the gateway's own request fields are therefore allowed in
    /// responses.
    pub(super) fn read_response(mut table: TableReader<'_>) -> Self {
        let set = table.table("set").entries();
        let set = set.iter().filter_map(|(name, item)| read_set(name, item, &[FRAMING])).collect();
        let remove = table.list("remove");
        let remove = remove.iter().filter_map(|item| read_remove(item, &[FRAMING])).collect();
        Self { set, remove }
    }
}

/// Checks the name of a field for credentials of the operator's choice. It must not be a field with
/// another meaning, nor one that is removed from requests before credentials are read. The error
/// says what is wrong with the name.
pub(super) fn check_credential_name(name: &str) -> Result<HeaderName, String> {
    let name = check_name(name, &[FRAMING, OURS])?;
    let text = name.as_str();
    let is_taken = ["x-forwarded-", "proxy-"].iter().any(|prefix| text.starts_with(prefix))
        || NO_CREDENTIAL.contains(&text);
    // Some servers read `_` as `-` (CGI). A name with `_` could then be taken for a protected one.
    if is_taken || text.contains('_') {
        return Err("must be a name for keys alone, for example \"X-API-Key\"".to_owned());
    }
    Ok(name)
}

/// Fields with another meaning in a request, or in one before it was rewritten.
const NO_CREDENTIAL: &[&str] = &[
    "accept",
    "content-encoding",
    "content-type",
    "cookie",
    "date",
    "expect",
    "origin",
    "proxy",
    "range",
    "referer",
    "user-agent",
    "x-original-host",
];

/// True for hop-by-hop fields and for those that frame a message.
pub(super) fn is_framing(name: &str) -> bool {
    FRAMING.contains(&name)
}

fn is_credential(name: &str) -> bool {
    matches!(name, "authorization" | "x-access-token" | "x-key")
}

fn read_set(
    name: &str,
    item: &SpannedValue<'_>,
    refused: &[&[&str]],
) -> Option<(HeaderName, ValueTemplate)> {
    let name = match check_name(name, refused) {
        Ok(name) => name,
        Err(remedy) => {
            // The value is hidden, because it may be a password.
            item.hidden_issue(remedy);
            return None;
        }
    };
    let text = item.string()?;
    match ValueTemplate::parse(text) {
        Ok(value) => Some((name, value)),
        Err(remedy) => {
            item.issue(remedy);
            None
        }
    }
}

fn read_remove(item: &SpannedValue<'_>, refused: &[&[&str]]) -> Option<HeaderName> {
    match check_name(item.string()?, refused) {
        Ok(name) => Some(name),
        Err(remedy) => {
            item.issue(remedy);
            None
        }
    }
}

fn check_name(name: &str, refused: &[&[&str]]) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| "is no header name".to_owned())?;
    // Servers that follow CGI (RFC 3875, section 4.1.18) read both spellings as the same name.
    let folded = parsed.as_str().replace('_', "-");
    if FRAMING.contains(&folded.as_str()) {
        return Err("frames the message: the gateway keeps it right by itself".to_owned());
    }
    let is_ours = refused.concat().contains(&folded.as_str());
    let is_identity = folded.starts_with(IDENTITY) && !is_foreign(&folded);
    // In rules for responses only framing is refused, and any other name is allowed.
    if is_ours || (refused.len() > 1 && is_identity) {
        return Err(match is_credential(&folded) {
            true => "carries a credential: see forward_credential".to_owned(),
            false => "is the gateway's own: the upstream relies on it".to_owned(),
        });
    }
    Ok(parsed)
}

impl ValueTemplate {
    /// Parses text with `$placeholders`; `$$` stands for a dollar sign.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Control characters, line breaks above all, could add further fields to the message
        // (header injection). Bytes beyond ASCII are read differently by different servers.
        if !text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return Err("must be of visible ASCII letters".to_owned());
        }
        if text.trim() != text {
            return Err("must not begin or end with a space".to_owned());
        }
        let parts = pieces(text, placeholder).into_iter().map(|piece| match piece {
            TextPiece::Plain(text) => Ok(ValuePart::Text(text)),
            TextPiece::Name(name) => part(name),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

/// The name at the beginning of `text`. A dot at the end belongs to the sentence around it. Hyphens
/// occur only in names of claims. Thus `$username.` at the end of a sentence is the placeholder
/// `$username` and a dot.
fn placeholder(text: &str) -> &str {
    let is_claim = text.starts_with("claims.");
    let fits = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || (is_claim && *byte == b'-')
    };
    let length = text.bytes().take_while(fits).count();
    text.get(..length).unwrap_or_default().trim_end_matches(['.', '-'])
}

fn part(name: &str) -> Result<ValuePart, String> {
    if let Some((_, part)) = ValuePart::PLACEHOLDERS.iter().find(|(known, _)| *known == name) {
        return Ok(part.clone());
    }
    if let Some(path) =
        name.strip_prefix("claims.").filter(|path| !path.split('.').any(str::is_empty))
    {
        return Ok(ValuePart::Claim(path.split('.').map(str::to_owned).collect()));
    }
    let known = || ValuePart::PLACEHOLDERS.iter().map(|(name, _)| *name).chain(["claims.NAME"]);
    Err(match did_you_mean(name, known()) {
        Some(meant) => format!("has an unknown placeholder `${name}`; did you mean `${meant}`?"),
        None => {
            let known: Vec<String> = known().map(|name| format!("${name}")).collect();
            format!("has an unknown placeholder `${name}`; there are {}", known.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_being_written_and_read() {
        for text in
            ["acme", "$subject", "u=$username; t=$claims.a.b.", "cost: $$5", "$client.address"]
        {
            let value = ValueTemplate::parse(text).unwrap();
            assert_eq!(value.render(), text);
        }
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let fault = ValueTemplate::parse("x-$subjct").unwrap_err();
        assert!(fault.contains("did you mean `$subject`"), "{fault}");
        assert!(ValueTemplate::parse("$").is_err());
        assert!(ValueTemplate::parse("$claims.").is_err());
        assert!(ValueTemplate::parse("a\r\nb").is_err());
    }

    #[test]
    fn no_spelling_of_a_protected_field_can_be_set() {
        for name in
            ["X-Auth-Subject", "x_auth_roles", "X_Forwarded-For", "Connection", "HOST", "a b"]
        {
            assert!(check_name(name, &[FRAMING, OURS]).is_err(), "{name}");
        }
        check_name("X-Tenant", &[FRAMING, OURS]).unwrap();
        check_name("X-Auth-Request-User", &[FRAMING, OURS]).unwrap();
    }
}
