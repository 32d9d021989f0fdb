//! Distinguished names (RFC 4514), as far as the configuration of a directory compares them:
//! whether two names are the same group, and whether a name is below a base.
//!
//! Attribute types and values are compared without regard to case, which is how directories compare
//! the names of people and groups. Parsing is done by `crate::distinguished_name`.

use std::fmt;

use crate::distinguished_name::Attribute;

/// A distinguished name. Two of them are equal if they name the same entry, whatever their case and
/// the order of the values in a name of several values. The text is kept as well, because messages
/// and `check --print` show the operator's spelling.
#[derive(Clone, Debug)]
pub struct DnText {
    text: String,
    /// The names from the entry up to the root, in lower case. The values of a name with several
    /// are sorted, because their order has no meaning (RFC 4514, section 2.2). Comparing two names
    /// is then a comparison of lists.
    names: Vec<Vec<Attribute>>,
    /// The entry's own name, in the spelling of the text.
    own: Vec<Attribute>,
}

impl DnText {
    /// Parses the string form. `None` if it is no distinguished name, and for forms that are
    /// obsolete (quotes, `;`) or hide their value (`#04…`). Refusing them is safe: the
    /// configuration is rejected with an example of the usual form.
    pub fn parse(text: &str) -> Option<Self> {
        let spelt = crate::distinguished_name::parse(text)?;
        let own = spelt.first().cloned().unwrap_or_default();
        let folded = |name: Vec<Attribute>| {
            let folded = name.into_iter().map(|(kind, value)| (kind, value.to_lowercase()));
            let mut folded: Vec<Attribute> = folded.collect();
            folded.sort_unstable();
            folded
        };
        let names = spelt.into_iter().map(folded).collect();
        Some(Self { text: text.to_owned(), names, own })
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if this entry is `base` itself or below it.
    pub fn is_below(&self, base: &Self) -> bool {
        self.names.ends_with(&base.names)
    }

    /// The value that the entry's own name gives to `attribute`: `admins` for `cn` in
    /// `cn=admins,dc=x`.
    pub fn value_of(&self, attribute: &str) -> Option<&str> {
        let found = self.own.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(attribute));
        found.map(|(_, value)| value.as_str())
    }
}

impl PartialEq for DnText {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl fmt::Display for DnText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        for (one, other, same, why) in [
            ("cn=admins,dc=example", "CN=Admins, DC=Example", true, "case and spaces"),
            ("cn=a\\2cb,dc=x", "cn=a\\,b,dc=x", true, "two ways to escape"),
            ("cn=a+ou=b,dc=x", "ou=b + cn=a,dc=x", true, "the order of several values"),
            ("cn=a+ou=b,dc=x", "cn=a\\+ou=b,dc=x", false, "an escaped plus is a letter"),
            ("cn=a\\ ,dc=x", "cn=a,dc=x", false, "an escaped space is a letter"),
            ("cn=a\\,dc=x", "cn=a,dc=x", false, "an escaped comma is a letter"),
            ("cn=ÄRZTE,dc=x", "cn=ärzte,dc=x", true, "case beyond ASCII"),
        ] {
            let is_name = DnText::parse(one).is_some();
            let is_same = DnText::parse(one) == DnText::parse(other);
            assert!(is_name, "{why}");
            assert_eq!(is_same, same, "{why}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "cn", "cn=", "=a", "cn=a,", "cn=\"a\"", "cn=#0401", "cn=a;dc=x", "cn=a\\"]
        {
            assert!(DnText::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_whole_names_are_below_a_base() {
        let base = DnText::parse("ou=groups,dc=x");
        let below =
            |text| DnText::parse(text).zip(base.as_ref()).map(|(dn, base)| dn.is_below(base));

        assert_eq!(below("cn=a,ou=Groups,dc=X"), Some(true));
        assert_eq!(below("ou=groups,dc=x"), Some(true), "the base itself");
        assert_eq!(below("cn=a,ou=other groups,dc=x"), Some(false));
        assert_eq!(below("cn=a\\,ou=groups,dc=x"), Some(false), "part of a value");
    }
}
