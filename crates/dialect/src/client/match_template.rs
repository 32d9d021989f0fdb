//! Reading a template backwards: from a rendered value to the values of its placeholders.
//!
//! Members that the template does not have are ignored, so that a system may add some. Fixed parts
//! of the template must be in the value. Whether the value of a placeholder must be there is
//! decided by the caller.

use serde_json::Value;

use crate::placeholders::Placeholder;
use crate::template::{ListJoin, TemplateNode, TextPart};

/// The values found at the placeholders, in the order of the template.
#[derive(Debug, Default)]
pub(super) struct ExtractedValues(pub(super) Vec<(Placeholder, Value)>);

/// Tells whether the value of a placeholder must be there. A token must be, because it proves a
/// success; an e-mail address need not be.
pub(super) type NeededPlaces<'a> = &'a dyn Fn(&Placeholder) -> bool;

impl ExtractedValues {
    /// Reads `value` as something rendered from `template`; `None` if it cannot have been.
    pub(super) fn read(
        template: &TemplateNode,
        value: &Value,
        needed: NeededPlaces<'_>,
    ) -> Option<Self> {
        let mut found = Self::default();
        found.node(template, value, needed).then_some(found)
    }

    /// Reads a text that was rendered from these parts; `None` if it cannot have been.
    pub(super) fn of_text(parts: &[TextPart], text: &str) -> Option<Self> {
        let mut found = Self::default();
        found.text(parts, text).then_some(found)
    }

    /// Changes every text that was found.
    pub(super) fn map_texts(&mut self, change: impl Fn(&str) -> String) {
        for (_, value) in &mut self.0 {
            if let Value::String(text) = value {
                *text = change(text);
            }
        }
    }

    fn node(&mut self, template: &TemplateNode, value: &Value, needed: NeededPlaces<'_>) -> bool {
        match (template, value) {
            (TemplateNode::Fixed(fixed), value) => holds(fixed, value),
            (TemplateNode::Place(place, join), value) => {
                self.0.push((place.clone(), split_joined(*join, value)));
                true
            }
            (TemplateNode::Text(parts), Value::String(text)) => self.text(parts, text),
            (TemplateNode::List(nodes), Value::Array(values)) => {
                let mut pairs = nodes.iter().zip(values);
                nodes.len() == values.len()
                    && pairs.all(|(node, value)| self.maybe(node, Some(value), needed))
            }
            (TemplateNode::Object(members), Value::Object(values)) => {
                members.iter().all(|(name, node)| self.maybe(node, values.get(name), needed))
            }
            (TemplateNode::Text(_) | TemplateNode::List(_) | TemplateNode::Object(_), _) => false,
        }
    }

    fn maybe(
        &mut self,
        node: &TemplateNode,
        value: Option<&Value>,
        needed: NeededPlaces<'_>,
    ) -> bool {
        match value {
            None => !is_needed(node, needed),
            Some(value) => {
                let before = self.0.len();
                let is_read = self.node(node, value, needed);
                if !is_read {
                    // The node did not match to its end. Values that were found in its first half
                    // are dropped, because they may belong to something else.
                    self.0.truncate(before);
                }
                is_read || !is_needed(node, needed)
            }
        }
    }

    /// Reads a text with placeholders. Each placeholder extends to the first occurrence of the
    /// fixed text after it. A value that contains that text itself is therefore cut short.
    fn text(&mut self, parts: &[TextPart], text: &str) -> bool {
        let mut rest = text;
        let mut open: Option<&Placeholder> = None;
        for part in parts {
            match (part, open) {
                (TextPart::Text(fixed), None) => match rest.strip_prefix(fixed.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                (TextPart::Text(fixed), Some(place)) => match rest.split_once(fixed.as_str()) {
                    Some((before, after)) => {
                        self.0.push((place.clone(), before.into()));
                        (rest, open) = (after, None);
                    }
                    None => return false,
                },
                (TextPart::Place(place, _), None) => open = Some(place),
                // Two placeholders without a fixed text between them cannot be separated, so
                // neither gets a value. The text still matches, because the values are not needed
                // to recognise the answer.
                (TextPart::Place(..), Some(_)) => return true,
            }
        }
        match open {
            Some(place) => self.0.push((place.clone(), rest.into())),
            None => return rest.is_empty(),
        }
        true
    }
}

/// Whether a node must be in the value: a fixed value always, a placeholder as the caller decides.
fn is_needed(node: &TemplateNode, needed: NeededPlaces<'_>) -> bool {
    let part_is = |part: &TextPart| match part {
        TextPart::Text(_) => false,
        TextPart::Place(place, _) => needed(place),
    };
    match node {
        TemplateNode::Fixed(_) => true,
        TemplateNode::Place(place, _) => needed(place),
        TemplateNode::Text(parts) => parts.iter().any(part_is),
        TemplateNode::List(nodes) => nodes.iter().any(|node| is_needed(node, needed)),
        TemplateNode::Object(members) => members.iter().any(|(_, node)| is_needed(node, needed)),
    }
}

/// True if `value` contains everything that `fixed` contains. Additional members are allowed.
pub(super) fn holds(fixed: &Value, value: &Value) -> bool {
    match (fixed, value) {
        (Value::Object(fixed), Value::Object(values)) => {
            let is_there = |(name, member): (&String, &Value)| {
                values.get(name).is_some_and(|value| holds(member, value))
            };
            fixed.iter().all(is_there)
        }
        (Value::Array(fixed), Value::Array(values)) => {
            fixed.len() == values.len()
                && fixed.iter().zip(values).all(|(fixed, value)| holds(fixed, value))
        }
        (fixed, value) => fixed == value,
    }
}

/// True if `value` has the same structure as `fixed`, whatever its texts and numbers are.
pub(super) fn is_shaped(fixed: &Value, value: &Value) -> bool {
    match (fixed, value) {
        (Value::Object(fixed), Value::Object(values)) => {
            let is_there = |(name, member): (&String, &Value)| {
                values.get(name).is_some_and(|value| is_shaped(member, value))
            };
            fixed.iter().all(is_there)
        }
        (Value::Array(fixed), Value::Array(values)) => match fixed.first() {
            Some(first) => values.iter().all(|value| is_shaped(first, value)),
            None => true,
        },
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => true,
        (fixed, value) => fixed == value,
    }
}

/// Splits a text that a filter joined. The split is the exact reverse only if no item contains the
/// separator. Spaces around an item and empty items are dropped.
fn split_joined(join: ListJoin, value: &Value) -> Value {
    let separator = match join {
        ListJoin::None | ListJoin::Text => return value.clone(),
        ListJoin::Comma => ',',
        ListJoin::Space => ' ',
    };
    match value {
        Value::String(text) => {
            text.split(separator).map(str::trim).filter(|item| !item.is_empty()).collect()
        }
        other => other.clone(),
    }
}
