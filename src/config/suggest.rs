//! Suggestions for a name that does not exist: the most similar one that does.
//!
//! Keys, references, choices and names of warnings are all misspelt in the same way, so all their
//! readers ask here. Nothing is suggested where the similarity could be chance.

/// The least similarity (Jaro-Winkler, 0 to 1) at which a name is suggested. Below it a suggestion
/// would be a guess.
const SIMILAR: f64 = 0.75;

/// The candidate that is most similar to `name`; `None` if none is similar enough.
pub(super) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A name without letters is a number, and any number is similar to any other.
    if !name.contains(char::is_alphabetic) {
        return None;
    }
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The message for a reference to a name that does not exist: a suggestion, or the known names.
pub(super) fn no_such<'a>(
    what: &str,
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(meant) = did_you_mean(name, candidates.clone()) {
        return format!("no such {what}; did you mean \"{meant}\"?");
    }
    let known: Vec<&str> = candidates.into_iter().collect();
    if known.is_empty() {
        format!("no such {what}; there is none")
    } else {
        format!("no such {what}; there are {}", known.join(", "))
    }
}
