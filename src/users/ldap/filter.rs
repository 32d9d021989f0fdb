//! LDAP search filters (RFC 4515) that contain text typed by a client.
//!
//! Escaping is the protection against LDAP injection: whatever a client types is a value in the
//! filter and never a part of its structure.

use ldap3::ldap_escape;

/// Replaces `{name}` and `{dn}` in a filter, each escaped as a value. There is one pass: replaced
/// text is not searched for placeholders again.
pub(super) fn fill(filter: &str, name: &str, dn: &str) -> String {
    let mut filled = String::with_capacity(filter.len() + name.len());
    let mut rest = filter;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        rest = if let Some(rest) = after.strip_prefix("name}") {
            filled.push_str(&ldap_escape(name));
            rest
        } else if let Some(rest) = after.strip_prefix("dn}") {
            filled.push_str(&ldap_escape(dn));
            rest
        } else {
            filled.push('{');
            after
        };
    }
    filled.push_str(rest);
    filled
}

/// A filter for the user with this id among those that the login filters accept. `id` must be
/// escaped already. A user who no longer matches any login filter is not found and loses their
/// sessions.
pub(super) fn by_id(filters: &[&str], attribute: &str, id: &str) -> String {
    let anybody: String = filters.iter().map(|filter| filter.replace("{name}", "*")).collect();
    format!("(&(|{anybody})({attribute}={id}))")
}

/// Every byte in the escaped form `\xx` (RFC 4515, section 3).
pub(super) fn escape_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_a_value_and_nothing_else() {
        for (name, filled) in [
            ("alice", "(uid=alice)"),
            ("*", "(uid=\\2a)"),
            ("a)(uid=*", "(uid=a\\29\\28uid=\\2a)"),
            ("a\\29", "(uid=a\\5c29)"),
            ("a\0b", "(uid=a\\00b)"),
            ("{dn}", "(uid={dn})"),
            ("{name}", "(uid={name})"),
        ] {
            assert_eq!(fill("(uid={name})", name, "cn=x"), filled);
            assert!(ldap3::parse_filter(filled).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_dn_is_a_value_too() {
        assert_eq!(
            fill("(|(member={dn})(memberUid={name}))", "bob", "cn=a (b),dc=x"),
            "(|(member=cn=a \\28b\\29,dc=x)(memberUid=bob))"
        );
    }

    #[test]
    fn a_user_is_found_again_among_those_who_may_log_in() {
        let filter = by_id(&["(&(a=b)(uid={name}))", "(mail={name})"], "entryUUID", "1-2");

        assert_eq!(filter, "(&(|(&(a=b)(uid=*))(mail=*))(entryUUID=1-2))");
        assert!(ldap3::parse_filter(&filter).is_ok());
    }
}
