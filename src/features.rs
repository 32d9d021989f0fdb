//! The parts that a build may leave out, each a Cargo feature and each with a large library.

/// A part that this build was made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build was made without `{0}`")]
pub struct LeftOut(pub &'static str);

const FEATURES: [(&str, bool); 6] = [
    ("acme", cfg!(feature = "acme")),
    ("ldap", cfg!(feature = "ldap")),
    ("mail", cfg!(feature = "mail")),
    ("postgres", cfg!(feature = "postgres")),
    ("redis", cfg!(feature = "redis")),
    ("sql", cfg!(feature = "sql")),
];

/// The names of the parts that this build has.
pub fn included() -> impl Iterator<Item = &'static str> {
    FEATURES.into_iter().filter(|(_, is_included)| *is_included).map(|(name, _)| name)
}

/// The refusal of a configuration that needs the part `name`. `None` if this build has it, or if
/// it is no part that can be left out.
pub fn left_out(name: &str) -> Option<LeftOut> {
    let missing =
        FEATURES.into_iter().find(|(feature, is_included)| *feature == name && !is_included);
    missing.map(|(feature, _)| LeftOut(feature))
}
