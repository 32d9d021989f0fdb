//! The lines of `gateway.toml` that the keys of a configuration are on.
//!
//! `config` notes them while it reads. An explanation of a decision names the line that decided it,
//! long after the text of the file is gone. The lines change nothing about how a gateway runs.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The line of each key that the file has, by key path: `route[3].require.roles`. A copy shares the
/// table.
#[derive(Clone, Debug, Default)]
pub struct KeyLines(Arc<BTreeMap<String, usize>>);

impl KeyLines {
    /// The lines of these keys, counted from 1.
    pub fn new(lines: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self(Arc::new(lines.into_iter().collect()))
    }

    /// The line of a key. If the file does not have the key, because a default holds, it is the line
    /// of the nearest table around it. `None` if there is no such table either.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut at = path;
        loop {
            if let Some(line) = self.0.get(at) {
                return Some(*line);
            }
            at = at.get(..at.rfind(['.', '['])?)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_on_the_line_of_its_table() {
        let lines = [("route", 3), ("route[0]", 3), ("route[0].require.roles", 7)];
        let lines = KeyLines::new(lines.map(|(path, line)| (path.to_owned(), line)));

        for (path, line) in [
            ("route[0].require.roles", Some(7)),
            ("route[0].require.scopes", Some(3)),
            ("route[0].auth", Some(3)),
            ("token.issuer", None),
        ] {
            assert_eq!(lines.line(path), line, "{path}");
        }
    }
}
