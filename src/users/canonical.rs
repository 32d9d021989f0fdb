//! The canonical spelling of a name, for looking users up and for counting attempts.
//!
//! Two spellings that a person would call the same name must lead to one user and to one count:
//! otherwise an attacker could multiply the allowed guesses by changing case or width. Every lookup
//! by name goes through here; the name as it was typed is used for nothing else.

use unicode_normalization::UnicodeNormalization;

use super::source::{LoginName, UserKey};
use crate::secret::Digest;

/// The name in NFKC form (Unicode Standard Annex 15), trimmed and in lower case: `ＡＬＩＣＥ ` and
/// `alice` are the same.
pub fn canonical_name(name: &str) -> String {
    // Lower case can produce characters that NFKC would change, so the form is applied twice.
    // Letters are lowered one by one, because the lower case of a whole string depends on the
    // position of a sigma.
    let lower: String = name.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().collect::<String>().trim().to_owned()
}

/// The digest under which attempts are counted: of the user, if the name belongs to one, otherwise
/// of the canonical name.
///
/// It does not matter whether the user gave a username or an address, nor in which dialect. With a
/// count for each, a user who has both could be guessed at twice as often. The price: if one of the
/// two is locked, so is the other, which shows that both belong to one user. To learn that, an
/// attacker must spend the whole limit of an account for each pair that they suspect; guesses weigh
/// more, so one count is the better choice.
pub fn canonical_account(name: &LoginName, resolved: Option<&UserKey>) -> Digest {
    let (LoginName::Username(text) | LoginName::Email(text)) = name;
    match resolved {
        // The parts are digested as a list with lengths. Otherwise a letter could move from the
        // source's name to the id, and two users would share a count.
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
        let username = LoginName::Username("A@example.com".into());
        let email = LoginName::Email("a@example.com ".into());

        assert_eq!(canonical_account(&username, None), canonical_account(&email, None));
        let account = |user: &UserKey| canonical_account(&email, Some(user));
        assert_eq!(canonical_account(&username, Some(&known)), account(&known));
        assert_ne!(account(&known), canonical_account(&email, None));
        assert_ne!(account(&known), account(&user("shop", "4d1a")), "of another source");
        assert_ne!(account(&known), account(&user("staff4", "d1a")), "a letter moved");
    }
}
