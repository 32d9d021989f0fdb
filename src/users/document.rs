//! A users file as a document whose users can be changed while everything else stays as it was
//! written: comments, order, and the style of each value.
//!
//! Nothing here checks whether the result is right: `edit` reads the new text again and compares it
//! with the expected users before the file is written.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value, value};
use uuid::Uuid;

use super::new_user::NewUser;

/// The content of a file from which the last user was removed. An empty file would be refused as
/// damaged when it is read again.
pub(super) const FIRST_LINE: &str = "# Users of the gateway. Change them with `tollhouse user`.\n";

pub(super) struct UsersDocument {
    document: DocumentMut,
    /// The parser drops both, so they are put back.
    byte_order_mark: &'static str,
    line_end: &'static str,
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

impl UsersDocument {
    /// The document with this text. `None` if it would not be written again as it is: dotted keys
    /// that stand apart (`claims.a`, `roles`, `claims.b`), for example, would come together, and
    /// line ends of two kinds would become one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let marked = text.strip_prefix(BYTE_ORDER_MARK);
        let document = Self {
            document: marked.unwrap_or(text).replace("\r\n", "\n").parse().ok()?,
            byte_order_mark: if marked.is_some() { BYTE_ORDER_MARK } else { "" },
            line_end: line_end(text),
        };
        // The parser ends a last line that has no end.
        (document.text().trim_end() == text.trim_end()).then_some(document)
    }

    pub(super) fn text(&self) -> String {
        let lines = self.document.to_string().replace('\n', self.line_end);
        format!("{}{lines}", self.byte_order_mark)
    }

    /// Removes a user and the comment directly above their `[[user]]`. `None` if the users are
    /// written in another style, for example as inline tables.
    pub(super) fn remove(&mut self, index: usize) -> Option<()> {
        let users = self.document.get_mut("user")?.as_array_of_tables_mut()?;
        let above = prefix(users.get(index)?).to_owned();
        users.remove(index);
        let kept = without_own_comment(&above, index == 0);
        if let Some(next) = users.get_mut(index) {
            let above_next = format!("{kept}{}", prefix(next).trim_start_matches('\n'));
            next.decor_mut().set_prefix(above_next);
        } else {
            let trailing = self.document.trailing().as_str().unwrap_or_default();
            let trailing = format!("{kept}{trailing}");
            let is_blank = index == 0 && trailing.trim().is_empty();
            self.document.set_trailing(if is_blank { FIRST_LINE.to_owned() } else { trailing });
        }
        Some(())
    }

    pub(super) fn set_password(&mut self, index: usize, hash: &str) -> Option<()> {
        replace(self.user(index)?.get_mut("password")?, hash.into())
    }

    /// Changes the value of `disabled` where it stands, or adds it after the name. Enabling a user
    /// who has no such key changes nothing.
    pub(super) fn set_disabled(&mut self, index: usize, disabled: bool) -> Option<()> {
        match self.user(index)?.get_mut("disabled") {
            Some(item) => replace(item, disabled.into()),
            None if disabled => {
                let user = self.document.get_mut("user")?.get_mut(index)?.as_table_mut()?;
                insert_after_name(user, "disabled", value(true))
            }
            None => Some(()),
        }
    }

    fn user(&mut self, index: usize) -> Option<&mut dyn TableLike> {
        self.document.get_mut("user")?.get_mut(index)?.as_table_like_mut()
    }
}

/// The lines between a `[[user]]` and what is above it.
fn prefix(user: &Table) -> &str {
    user.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default()
}

/// `above` without the comment lines at its end. A comment that begins the file is about the file
/// and not about its first user, so it stays.
fn without_own_comment(above: &str, is_first: bool) -> &str {
    let mut kept = above;
    while let Some(line) = kept.split_inclusive('\n').next_back() {
        if !line.trim_start().starts_with('#') {
            return kept;
        }
        kept = kept.strip_suffix(line).unwrap_or_default();
    }
    if is_first { above } else { kept }
}

/// Replaces a value and keeps the blanks and the comment around it.
fn replace(item: &mut Item, mut new: Value) -> Option<()> {
    let old = item.as_value_mut()?;
    *new.decor_mut() = old.decor().clone();
    *old = new;
    Some(())
}

/// Adds a value in the line after the name, with the same indentation.
fn insert_after_name(user: &mut Table, key: &str, item: Item) -> Option<()> {
    let above = user.key("name")?.leaf_decor().prefix()?.as_str()?;
    let indentation = above.rsplit('\n').next().unwrap_or_default();
    let mut key = Key::new(key);
    key.leaf_decor_mut().set_prefix(indentation);
    let keys = user.iter().map(|(key, _)| key.to_owned());
    let later: Vec<String> = keys.skip_while(|key| key != "name").skip(1).collect();
    user.insert_formatted(&key, item);
    for key in later {
        let (key, item) = user.remove_entry(&key)?;
        user.insert_formatted(&key, item);
    }
    Some(())
}

/// The text with a new user at its end.
pub(super) fn appended(text: &str, user: &NewUser) -> String {
    let line_end = line_end(text);
    let mut new = text.to_owned();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push_str(line_end);
    }
    if !new.is_empty() {
        new.push_str(line_end);
    }
    new.push_str(&section(user).replace('\n', line_end));
    new
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The `[[user]]` section of a new user, with a new random id.
pub(super) fn section(user: &NewUser) -> String {
    let list = |items: &[String]| value(items.iter().collect::<Array>());
    let mut table = Table::new();
    table.insert("id", value(Uuid::new_v4().to_string()));
    table.insert("name", value(&user.name));
    if let Some(email) = &user.email {
        table.insert("email", value(email));
    }
    table.insert("password", value(user.password.as_str()));
    table.insert("roles", list(&user.roles));
    if !user.scopes.is_empty() {
        table.insert("scopes", list(&user.scopes));
    }
    if !user.claims.is_empty() {
        let claims = user.claims.iter().map(|(key, value)| (key, single_line(value)));
        table.insert("claims", value(claims.collect::<InlineTable>()));
    }
    format!("[[user]]\n{table}")
}

/// A string without line breaks of its own. In a string of several lines they would become those of
/// the file. JSON escapes what TOML escapes, in the same way.
fn single_line(text: &str) -> Value {
    let escaped = serde_json::to_string(text).ok().filter(|_| text.contains(['\n', '\r']));
    escaped.and_then(|escaped| escaped.parse().ok()).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# The office.\n\n# Alice.\n[[user]]\n\tname = 'alice' # boss\n\tclaims.b = 1\n\tclaims.a = 2\n\n# Below.\n\n# Bob.\n[[user]]\npassword = 'x'\nname = 'bob'\n# The end.\n";

    #[test]
    fn a_change_keeps_line_ends_and_whatever_is_not_about_the_user() {
        let windows = TWO.replace('\n', "\r\n");
        let mut document = UsersDocument::parse(&windows).unwrap();
        document.set_disabled(0, true).unwrap();
        document.set_password(1, "y").unwrap();
        let changed = windows
            .replace("# boss\r\n", "# boss\r\n\tdisabled = true\r\n")
            .replace("'x'", "\"y\"");
        assert_eq!(document.text(), changed);

        let mut document = UsersDocument::parse(TWO).unwrap();
        document.remove(0).unwrap();
        assert!(document.text().starts_with("# The office.\n\n# Below.\n\n# Bob.\n[[user]]\n"));
        document.remove(0).unwrap();
        assert_eq!(document.text(), "# The office.\n\n# Below.\n\n# The end.\n");
    }

    #[test]
    fn a_byte_order_mark_stays_and_a_mixture_of_line_ends_is_left_alone() {
        let marked = format!("{BYTE_ORDER_MARK}{TWO}");
        assert_eq!(UsersDocument::parse(&marked).unwrap().text(), marked);

        let mixed = TWO.replacen('\n', "\r\n", 1);
        assert!(UsersDocument::parse(&mixed).is_none());
    }

    #[test]
    fn a_line_break_in_a_claim_is_written_as_an_escape() {
        assert_eq!(single_line("a\nb \"c\"").to_string(), r#""a\nb \"c\"""#);
        assert_eq!(single_line("plain").to_string(), "\"plain\"");
    }

    #[test]
    fn keys_that_would_change_their_order_are_left_alone() {
        let apart = TWO.replace("\tclaims.a", "\troles = []\n\tclaims.a");

        assert!(UsersDocument::parse(&apart).is_none());
    }
}
