//! Filters (RFC 4515) with what a client typed in them.

use ldap3::ldap_escape;

/// Fills `{name}` and `{dn}` in, each escaped so that it can be nothing but a value. One pass:
/// what was filled in is not looked at again.
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

/// Whoever may log in, and has this id (a filter's value, escaped already).
pub(super) fn by_id(filters: &[&str], attribute: &str, id: &str) -> String {
    let anybody: String = filters.iter().map(|filter| filter.replace("{name}", "*")).collect();
    format!("(&(|{anybody})({attribute}={id}))")
}

/// Every byte as `\xx`.
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
