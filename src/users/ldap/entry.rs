//! From an entry of a directory to the facts about a user.
//!
//! A value that is missing or cannot be used is left out where that gives the user less: a role, a
//! claim. It is a fault where it would make another person of the user: the id, the name.

use serde_json::Value;
use uuid::Uuid;

use super::connection::{DirectoryEntry, DirectoryError};
use super::filter::escape_bytes;
use crate::identity::{Claims, UserId};
use crate::settings::{DnText, LdapAttributes};
use crate::users::reader::is_address;

/// Longest value that can be a name, in bytes.
const MAX_TEXT: usize = 254;

/// Attributes that change with the password, in directories that have them and let the gateway read
/// them.
pub(super) const PASSWORD_TIMES: &[&str] =
    &["pwdChangedTime", "pwdLastSet", "krbLastPwdChange", "shadowLastChange"];

/// The id of entries in Active Directory; it is the only id that is not text.
const BINARY_ID: &str = "objectGUID";

impl DirectoryEntry {
    /// The text values of an attribute, sorted. A directory does not keep an order, so without
    /// sorting the user's version would change by itself.
    fn texts(&self, attribute: &str) -> Vec<String> {
        let mut texts: Vec<String> = self
            .bytes(attribute)
            .iter()
            .filter_map(|value| String::from_utf8(value.clone()).ok())
            .filter(|text| is_word(text))
            .collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    fn bytes(&self, attribute: &str) -> &[Vec<u8>] {
        self.values.get(&attribute.to_ascii_lowercase()).map(Vec::as_slice).unwrap_or_default()
    }

    /// The permanent id. It is a fault if there is not exactly one value, because then it is not
    /// certain who the user is.
    pub(super) fn id(&self, attribute: &str) -> Result<UserId, DirectoryError> {
        let odd = || DirectoryError::Entry(format!("not one `{attribute}` that can be its id"));
        let [value] = self.bytes(attribute) else { return Err(odd()) };
        // Active Directory stores the first three parts of the GUID with the lowest byte first.
        if attribute.eq_ignore_ascii_case(BINARY_ID) {
            let id = Uuid::from_slice_le(value).map_err(|_| odd())?;
            return Ok(UserId::new(id.to_string()));
        }
        let text = String::from_utf8(value.clone()).ok().filter(|text| is_word(text));
        text.map(UserId::new).ok_or_else(odd)
    }

    /// The user's name; if there are several, the first one that the server sends.
    pub(super) fn name(&self, attribute: &str) -> Result<String, DirectoryError> {
        let first = self.bytes(attribute).first().cloned();
        let text = first.and_then(|value| String::from_utf8(value).ok());
        text.filter(|text| is_word(text))
            .ok_or_else(|| DirectoryError::Entry(format!("no `{attribute}` that can be its name")))
    }

    /// The user's address; if there are several, the first one.
    pub(super) fn email(&self, attribute: &str) -> Option<String> {
        let first = self.bytes(attribute).first()?;
        String::from_utf8(first.clone()).ok().filter(|text| is_word(text) && is_address(text))
    }

    /// All values that can be names of roles.
    pub(super) fn words(&self, attribute: Option<&str>) -> Vec<String> {
        attribute.map(|attribute| self.texts(attribute)).unwrap_or_default()
    }

    /// All values that are DNs.
    pub(super) fn dns(&self, attribute: &str) -> Vec<DnText> {
        let texts = self.bytes(attribute).iter().filter_map(|value| str::from_utf8(value).ok());
        texts.filter_map(DnText::parse).collect()
    }

    /// All values that can be scopes (RFC 6749, section 3.3).
    pub(super) fn scopes(&self, attribute: Option<&str>) -> Vec<String> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        let mut words = self.words(attribute);
        words.retain(|word| word.bytes().all(fits));
        words
    }

    /// The claims: a text for an attribute with one value, a list for one with several.
    pub(super) fn claims(&self, from: &[(String, String)]) -> Claims {
        let claim = |(name, attribute): &(String, String)| {
            let mut texts = self.texts(attribute).into_iter().map(Value::String);
            let value = match (texts.next()?, texts.next()) {
                (one, None) => one,
                (one, Some(two)) => Value::Array([one, two].into_iter().chain(texts).collect()),
            };
            Some((name.clone(), value))
        };
        from.iter().filter_map(claim).collect()
    }

    /// The values of the attributes that change with the password.
    pub(super) fn password_times(&self) -> Vec<u8> {
        let values = PASSWORD_TIMES.iter().flat_map(|attribute| self.bytes(attribute));
        values.flat_map(|value| value.iter().copied().chain([0])).collect()
    }

    /// Refuses an entry with more values than the server sends at once (`member;range=0-1499`,
    /// Active Directory): with only some of the groups, the user would have other rights.
    ///
    /// An entry without a DN is refused too: a bind with an empty DN is anonymous and succeeds (RFC
    /// 4513, section 5.1).
    pub(super) fn whole(self) -> Result<Self, DirectoryError> {
        if self.dn.is_empty() {
            return Err(DirectoryError::Entry("no DN".to_owned()));
        }
        match self.values.keys().find(|name| name.contains(";range=")) {
            Some(name) => {
                Err(DirectoryError::Entry(format!("more values than are sent at once ({name})")))
            }
            None => Ok(self),
        }
    }
}

/// The id as an escaped value for a filter; `None` if the directory cannot have such an id.
pub(super) fn escaped_id(attribute: &str, id: &UserId) -> Option<String> {
    if attribute.eq_ignore_ascii_case(BINARY_ID) {
        let id = Uuid::try_parse(id.as_str()).ok()?;
        return Some(escape_bytes(&id.to_bytes_le()));
    }
    Some(ldap3::ldap_escape(id.as_str()).into_owned())
}

/// The attributes to ask for. Operational attributes are sent only if they are named, so all of
/// them are.
pub(super) fn wanted(attributes: &LdapAttributes) -> Vec<String> {
    let LdapAttributes { id, name, email, roles, scopes, groups, claims } = attributes;
    let always = [id, name, email].into_iter();
    let maybe = [roles, scopes, groups].into_iter().flatten();
    let claims = claims.iter().map(|(_, attribute)| attribute);
    let own = always.chain(maybe).chain(claims).cloned();
    own.chain(PASSWORD_TIMES.iter().map(|&name| name.to_owned())).collect()
}

/// True for a text that can be used in a header, a token and a log: not empty, not too long,
/// without control characters.
fn is_word(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(values: &[(&str, &[&[u8]])]) -> DirectoryEntry {
        let values = values.iter().map(|(name, values)| {
            (name.to_ascii_lowercase(), values.iter().map(|value| value.to_vec()).collect())
        });
        DirectoryEntry { dn: "uid=a,dc=x".to_owned(), values: values.collect() }
    }

    #[test]
    fn an_id_is_one_value_and_text_but_for_active_directory() {
        let guid: &[u8] = b"\x04\x03\x02\x01\x06\x05\x08\x07\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
        let found = entry(&[
            ("entryUUID", &[b"0192f0c1-0000-7000-8000-00000000000a"]),
            ("objectGUID", &[guid]),
            ("cn", &[b"one", b"two"]),
            ("binary", &[b"\xff\xfe"]),
        ]);

        let id = found.id("ENTRYUUID").ok();
        let binary = found.id("objectGUID").ok();

        assert_eq!(id, Some(UserId::new("0192f0c1-0000-7000-8000-00000000000a")));
        assert_eq!(binary, Some(UserId::new("01020304-0506-0708-090a-0b0c0d0e0f10")));
        let back = binary.and_then(|id| escaped_id("objectguid", &id));
        assert_eq!(back, Some(escape_bytes(guid)));
        for odd in ["cn", "binary", "none"] {
            assert!(found.id(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn values_have_no_order_and_what_cannot_be_used_is_left_out() {
        let found = entry(&[
            ("role", &[b"b", b"a", b"b", b"\xff", b"line\nbreak", b""]),
            ("scope", &[b"read", b"two words"]),
            ("mail", &[b"not an address"]),
            ("o", &[b"acme"]),
        ]);

        assert_eq!(found.words(Some("role")), ["a", "b"]);
        assert_eq!(found.scopes(Some("scope")), ["read"]);
        assert_eq!(found.email("mail"), None);
        let claims = found.claims(&[
            ("tenant".to_owned(), "o".to_owned()),
            ("list".to_owned(), "role".to_owned()),
            ("none".to_owned(), "none".to_owned()),
        ]);
        assert_eq!(
            Value::Object(claims),
            serde_json::json!({"tenant": "acme", "list": ["a", "b"]})
        );
    }

    #[test]
    fn an_entry_that_was_cut_is_a_fault() {
        assert!(entry(&[("memberOf;range=0-1499", &[b"cn=a"])]).whole().is_err());
        assert!(entry(&[("memberOf", &[b"cn=a"])]).whole().is_ok());
    }
}
