//! Texts with placeholders: compiled, filled in, searched and rendered part by part.

use super::parse::parse;
use super::{TextPart, ValueLookup};
use crate::placeholders::{Placeholder, PlaceholderScope};
use crate::problem::DialectProblems;

impl TextPart {
    /// Compiles a text with placeholders. One that is wrong is reported, and nothing is left of it.
    pub(crate) fn compile(
        text: &str,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Vec<Self> {
        parse(text, scope).unwrap_or_else(|message| {
            problems.add(at, text, message);
            Vec::new()
        })
    }

    /// Fills in what is known, written as `write` does in this place.
    pub(crate) fn fold(
        parts: Vec<Self>,
        look: ValueLookup<'_>,
        write: impl Fn(&str) -> String,
    ) -> Vec<Self> {
        let fold = |part| match part {
            Self::Place(place, join) => match look(&place) {
                Some(value) => Self::Text(write(&join.write(&value))),
                None => Self::Place(place, join),
            },
            text => text,
        };
        parts.into_iter().map(fold).collect()
    }

    /// Adds all placeholders that occur in a text.
    pub(crate) fn places<'t>(parts: &'t [Self], found: &mut Vec<&'t Placeholder>) {
        found.extend(parts.iter().filter_map(|part| match part {
            Self::Place(place, _) => Some(place),
            Self::Text(_) => None,
        }));
    }

    /// True if the fixed text can be written in a header field as it is.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Text(text) => text.chars().all(|it| it.is_ascii_graphic() || it == ' '),
            Self::Place(..) => true,
        }
    }

    pub(crate) fn render(&self, look: ValueLookup<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Place(place, join) => {
                look(place).map(|value| join.write(&value)).unwrap_or_default()
            }
        }
    }
}
