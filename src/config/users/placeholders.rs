//! Checks the placeholders of an SQL statement: whether it has as many as values are bound to it.
//!
//! A statement with the wrong number is accepted by the database library and fails only when
//! somebody logs in. Placeholders inside strings, quoted names and comments do not count, so those
//! are removed first. This is no SQL parser: it knows only how they begin and end.

/// How a database writes the placeholders of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceholderStyle {
    /// PostgreSQL: `$1`.
    Numbered,
    /// MySQL and MariaDB: `?`.
    InOrder,
    /// SQLite: `$1`, `?1` and `?`.
    Either,
}

impl PlaceholderStyle {
    pub(super) fn of(url: &str) -> Self {
        match url.split(':').next().unwrap_or_default() {
            "mysql" | "mariadb" => Self::InOrder,
            "sqlite" => Self::Either,
            _ => Self::Numbered,
        }
    }

    /// Checks that `statement` has exactly one placeholder for each name in `bound`; a placeholder
    /// may occur several times. The error says which there are and which are needed. Checked with
    /// the configuration, a mistake is found at the start and not by the first user.
    pub(super) fn check(self, statement: &str, bound: &[&str]) -> Result<(), String> {
        // The numbers, sorted and each once, have to be exactly 1, 2, 3 and so on. A gap leaves a
        // bound value without a place, and a larger number is a place without a value.
        let numbers = self.numbers(&bare(statement))?;
        let wanted: Vec<usize> = (1..=bound.len()).collect();
        if numbers == wanted {
            return Ok(());
        }
        let name = |number: usize| match self {
            Self::InOrder => "?".to_owned(),
            Self::Numbered | Self::Either => format!("${number}"),
        };
        let list: Vec<String> = bound
            .iter()
            .zip(1..)
            .map(|(what, number)| format!("{} for {what}", name(number)))
            .collect();
        let given: Vec<String> = numbers.iter().map(|number| name(*number)).collect();
        let given = if given.is_empty() { "nothing".to_owned() } else { given.join(", ") };
        Err(format!("asks for {given}, but what is bound is {}", list.join(", ")))
    }

    /// The numbers of the placeholders in the statement, sorted, each once. `?` counts up.
    fn numbers(self, bare: &str) -> Result<Vec<usize>, String> {
        let mut numbers = Vec::new();
        let mut unnumbered = 0;
        let mut rest = bare;
        while let Some(at) = rest.find(['$', '?']) {
            let (sign, after) = rest.get(at..).unwrap_or_default().split_at(1);
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            rest = after;
            match (sign, digits.parse::<usize>(), self) {
                ("$", Ok(_), Self::InOrder) => {
                    return Err("has `$1`, which MySQL and MariaDB do not know: write ?".to_owned());
                }
                ("$", Ok(number), _) | ("?", Ok(number), Self::Either) => numbers.push(number),
                // `?` is an operator of PostgreSQL's JSON types, and a lone `$` is no placeholder.
                ("?", _, Self::Numbered) | ("$", Err(_), _) => {}
                _ => {
                    unnumbered += 1;
                    numbers.push(unnumbered);
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

/// The statement without strings, quoted names and comments.
fn bare(statement: &str) -> String {
    let mut bare = String::with_capacity(statement.len());
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' | '`' => after(rest, 1, &first.to_string()),
            '-' if rest.starts_with("--") => after(rest, 2, "\n"),
            '/' if rest.starts_with("/*") => after(rest, 2, "*/"),
            '$' => dollar_quoted(rest).unwrap_or(0),
            _ => 0,
        };
        if end == 0 {
            bare.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            // A space takes the place of the removed part, so that the words around it do not
            // become one.
            bare.push(' ');
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    bare
}

/// The length of the text up to the end of the first `end` at or after `from`; the whole length if
/// there is none.
fn after(text: &str, from: usize, end: &str) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.find(end).map_or(text.len(), |at| from + at + end.len())
}

/// The length of a dollar-quoted string (PostgreSQL's `$tag$ … $tag$`), if the text begins with
/// one.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag = text.get(1..)?.split('$').next()?;
    let is_tag = tag.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        && !tag.starts_with(|letter: char| letter.is_ascii_digit());
    let quote = text.get(..tag.len() + 2)?;
    (is_tag && quote.ends_with('$')).then(|| after(text, quote.len(), quote))
}

#[cfg(test)]
mod tests {
    use super::PlaceholderStyle::{Either, InOrder, Numbered};

    #[test]
    fn a_query_that_asks_for_more_than_the_name_is_told() {
        for (kind, statement, fits) in [
            (Numbered, "select * from u where name = $1", true),
            (Numbered, "select * from u where name = $1 or alias = $1", true),
            (Numbered, "select * from u where name = $1 and site = $2", false),
            (Numbered, "select * from u where name = $2", false),
            (Numbered, "select data ? 'x' from u where name = $1", true),
            (Numbered, "select * from u where name = ?", false),
            (Numbered, "select '$2', \"$3\" from u where name = $1 -- $4", true),
            (Numbered, "select $q$ it's $2 $q$, $$ $3 $$ from u /* $4 */ where name = $1", true),
            (InOrder, "select * from u where name = ?", true),
            (InOrder, "select * from u where name = ? or alias = ?", false),
            (InOrder, "select 'it''s ?', `?` from u where name = ?", true),
            (InOrder, "select * from u where name = $1", false),
            (Either, "select * from u where name = $1", true),
            (Either, "select * from u where name = ?1 or alias = ?1", true),
            (Either, "select * from u where name = ? and site = ?", false),
        ] {
            assert_eq!(kind.check(statement, &["the name"]).is_ok(), fits, "{statement}");
        }
    }

    #[test]
    fn what_is_bound_is_named_where_something_else_is_asked_for() {
        let said = Numbered.check("update u set p = $1", &["the new hash", "the name"]);

        let expected = "asks for $1, but what is bound is $1 for the new hash, $2 for the name";
        assert_eq!(said, Err(expected.to_owned()));
    }
}
