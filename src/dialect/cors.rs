//! Who may call from another origin (the Fetch standard's CORS protocol), as values.

use std::time::Duration;

/// Who may call from another origin (Fetch standard, CORS protocol).
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    pub origins: CorsOrigins,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Duration,
    /// Status of a preflight's answer: 204, or 200 where a dialect's clients compare.
    pub preflight_status: u16,
}

/// Origins that may call.
#[derive(Clone, Debug, PartialEq)]
pub enum CorsOrigins {
    /// Any, answered as `*`.
    Any,
    /// Any, answered by repeating it.
    Echo,
    /// These.
    List(Vec<String>),
}
