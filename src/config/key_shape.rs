//! The types of values that a dialect may have, and of its keys.

/// The type of a value in a dialect.
pub(super) enum ValueShape {
    Text,
    Flag,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A duration, which only the dialect's own check parses.
    Duration,
    /// Any value; only the dialect's own check knows what it means.
    Free,
    /// A member of a body: its name, a path with dots, or a list of names.
    Member,
    Choice(&'static [&'static str]),
    /// One of these words, or a list of them.
    Choices(&'static [&'static str]),
    List(&'static Self),
    /// The list of endpoints. A faulty endpoint is replaced and not removed, so that the numbers of
    /// the others stay right. Findings name an endpoint by its number, and the operator counts in
    /// the file.
    Endpoints,
    /// A table with these keys.
    Keys(&'static [KeyShape]),
    /// A text, or a table with these keys.
    TextOr(&'static [KeyShape]),
    /// A member of a body, or a table with these keys.
    MemberOr(&'static [KeyShape]),
    /// One of these words, or a table with these keys.
    ChoiceOr(&'static [&'static str], &'static [KeyShape]),
    /// A table whose keys are chosen by the operator.
    Map(&'static Self),
    /// A table with exactly one of these keys, which decides the meaning of the value.
    OneOf(&'static [KeyShape]),
}

/// A key of a table, and whether it is required.
pub(super) struct KeyShape {
    pub(super) name: &'static str,
    pub(super) shape: ValueShape,
    pub(super) is_needed: bool,
    pub(super) description: &'static str,
}

pub(super) const fn may(
    name: &'static str,
    shape: ValueShape,
    description: &'static str,
) -> KeyShape {
    KeyShape { name, shape, is_needed: false, description }
}

pub(super) const fn must(
    name: &'static str,
    shape: ValueShape,
    description: &'static str,
) -> KeyShape {
    KeyShape { name, shape, is_needed: true, description }
}

pub(super) const TEXTS: ValueShape = ValueShape::List(&ValueShape::Text);
pub(super) const STATUS: ValueShape = ValueShape::Number(100, 599);
pub(super) const FREE_TABLE: ValueShape = ValueShape::Map(&ValueShape::Free);
