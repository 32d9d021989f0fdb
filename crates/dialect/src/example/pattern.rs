//! A text of an example, with `$name` where values vary.

use std::collections::BTreeMap;

use crate::template::{TemplatePiece, split};

/// The values that a story knows, by name.
pub type ExampleValues = BTreeMap<String, String>;

/// A text and its places.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExamplePattern(Vec<TemplatePiece>);

impl ExamplePattern {
    /// # Errors
    /// A message that says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let pieces = split(text)?;
        for pair in pieces.windows(2) {
            if let [TemplatePiece::Name(one), TemplatePiece::Name(other)] = pair {
                return Err(format!(
                    "has `${one}` and `${other}` with nothing between: where the first ends could \
                     not be told"
                ));
            }
        }
        Ok(Self(pieces))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            TemplatePiece::Name(name) => Some(name.as_str()),
            TemplatePiece::Text(_) => None,
        })
    }

    /// The name of the place if the pattern is nothing else.
    pub(super) fn only_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [TemplatePiece::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// The text with the known values in the places. A place without a value stays as it is
    /// written.
    pub(super) fn fill(&self, known: &ExampleValues) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Name(name) => {
                known.get(name).cloned().unwrap_or_else(|| format!("${name}"))
            }
        });
        pieces.collect()
    }

    /// Compares the pattern with `text`, and adds what it has in the places to `found`. Each place
    /// has at least one character and extends to the first occurrence of the text after it; the
    /// same name has the same value throughout. `found` may have been added to even if the answer
    /// is false.
    pub(super) fn read(&self, text: &str, found: &mut ExampleValues) -> bool {
        let mut rest = text;
        let mut open: Option<&str> = None;
        let last = self.0.len().saturating_sub(1);
        for (number, piece) in self.0.iter().enumerate() {
            let fixed = match piece {
                TemplatePiece::Name(name) => {
                    open = Some(name);
                    continue;
                }
                TemplatePiece::Text(fixed) => fixed.as_str(),
            };
            let Some(name) = open.take() else {
                let Some(after) = rest.strip_prefix(fixed) else { return false };
                rest = after;
                continue;
            };
            // The last piece of text belongs to the end, wherever else it may occur.
            let cut = match number == last {
                true => rest.strip_suffix(fixed).map(|before| (before, "")),
                false => rest.split_once(fixed),
            };
            let Some((value, after)) = cut else { return false };
            if !remember(name, value, found) {
                return false;
            }
            rest = after;
        }
        match open {
            Some(name) => remember(name, rest, found),
            None => rest.is_empty(),
        }
    }
}

/// Remembers the value of a place. False if it is empty, or another one than before.
pub(super) fn remember(name: &str, value: &str, found: &mut ExampleValues) -> bool {
    let first = found.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    !value.is_empty() && first == value
}
