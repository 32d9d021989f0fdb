//! One spelling of a name: for looking users up, and for counting attempts.

use unicode_normalization::UnicodeNormalization;

use super::source::{Name, UserKey};
use crate::secret::Digest;

/// The name NFKC-folded, trimmed and lower-cased; `ＡＬＩＣＥ ` and `alice` are one.
pub fn canonical_name(name: &str) -> String {
    // Lower-casing can bring back what folding took apart, so it is folded again. Character by
    // character, because a whole string's lower case depends on where a sigma stands.
    let lower: String = name.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().collect::<String>().trim().to_owned()
}

/// What attempts are counted by: the user where there is one, else the canonical name.
///
/// Whether the name came as user name or address makes no difference, nor does the dialect: with a
/// count for each, a user who has both could be guessed at twice as often. In return a lock of the
/// one shows in the other, and tells that both are one user's. That costs whoever asks the whole
/// limit of an account for each pair of name and address that they suspect, so guesses come first.
pub fn canonical_account(name: &Name, resolved: Option<&UserKey>) -> Digest {
    let (Name::Username(text) | Name::Email(text)) = name;
    match resolved {
        Some(UserKey { source, id }) => {
            Digest::of_list(&[b"user", source.as_bytes(), id.as_str().as_bytes()])
        }
        None => Digest::of_list(&[b"name", canonical_name(text).as_bytes()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::UserId;

    #[test]
    fn spellings_of_one_name_are_one() {
        for (spelling, canonical, why) in [
            ("Alice", "alice", "case"),
            (" alice\t", "alice", "space around it"),
            ("\u{feff}alice", "\u{feff}alice", "a mark is no space"),
            ("ＡＬＩＣＥ", "alice", "full width"),
            ("e\u{301}", "é", "composed"),
            ("ΣΑΣ", "σασ", "sigma does not depend on its place"),
            ("İ", "i\u{307}", "what lower-casing takes apart"),
            ("ﬁle", "file", "a ligature"),
        ] {
            assert_eq!(canonical_name(spelling), canonical, "{why}");
            assert_eq!(canonical_name(canonical), canonical, "{why}: twice is once");
        }
    }

    #[test]
    fn an_account_is_its_id_or_else_its_name_whatever_the_kind() {
        let user = |source: &str, id: &str| UserKey { source: source.into(), id: UserId::new(id) };
        let known = user("staff", "4d1a");
        let username = Name::Username("A@example.com".into());
        let email = Name::Email("a@example.com ".into());

        assert_eq!(canonical_account(&username, None), canonical_account(&email, None));
        let account = |user: &UserKey| canonical_account(&email, Some(user));
        assert_eq!(canonical_account(&username, Some(&known)), account(&known));
        assert_ne!(account(&known), canonical_account(&email, None));
        assert_ne!(account(&known), account(&user("shop", "4d1a")), "of another source");
        assert_ne!(account(&known), account(&user("staff4", "d1a")), "a letter moved");
    }
}
