//! Records what the readers ask for, while they run over a document that is not there.
//!
//! In a recorded reading every key is present and has a *probe* for its value: a value without a
//! type, which records each conversion that a reader tries on it. A reader may go different ways,
//! for example by the type of a value, by one of a few words, or by which of two keys is there. At
//! each such decision the probe answers differently from one reading to the next, and readings are
//! repeated until every answer was given at every decision. All of them together are the schema.
//!
//! Invariant: a recorded reading reads no file, and its issues are thrown away.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::key_path::KeyPath;
use super::schema::{KeyGroup, KeySchema, TableSchema, ValueSchema, VariantSchema};

/// The name of a key that an operator would choose.
pub(super) const CHOSEN_KEY: &str = "NAME";
/// The step of a path that stands for the elements of a list.
const ELEMENT: &str = "[]";
/// Upper bound on readings. Some thirty are needed; the bound keeps a reader that never comes to
/// rest from running for ever.
const MOST_READINGS: usize = 500;

/// The records of all readings so far, and the one that is running.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Records>);

#[derive(Default)]
struct Records {
    /// All finished readings together.
    total: RecordedNode,
    /// The running reading.
    current: RecordedNode,
    /// The answers that were given in the running reading, so that the same question has one answer
    /// in it.
    answers: BTreeMap<String, usize>,
    decisions: BTreeMap<String, Decision>,
    readings: usize,
}

/// A question that a reader asks of a value, and on which its way depends.
#[derive(Clone, Copy)]
struct Decision {
    answers: usize,
    /// How often the question was answered. The answers take turns.
    count: usize,
}

/// The key that decides the form of a table, and its value in this form.
type VariantName = (&'static str, Option<&'static str>);

/// The record of one value, and of everything inside of it.
#[derive(Default)]
struct RecordedNode {
    values: Vec<ValueSchema>,
    is_table: bool,
    /// A table whose keys are chosen by the operator.
    is_map: bool,
    is_list: bool,
    is_filled: bool,
    is_required: bool,
    /// The form of the table refuses the key, although a reader that serves several forms asks
    /// for it.
    is_refused: bool,
    /// The table is read even if it is not there.
    is_always_read: bool,
    defaults: Vec<Value>,
    old_name: Option<&'static str>,
    /// Keys of a table, or the one step to the elements of a list.
    inner: BTreeMap<String, Self>,
    groups: Vec<KeyGroup>,
    /// The form that the table has in this reading.
    variant: Option<VariantName>,
    /// The contents by form, of all readings together.
    variants: BTreeMap<VariantName, Self>,
    /// At least one reading is contained.
    is_merged: bool,
    /// The place among its siblings.
    place: usize,
}

impl Recorder {
    /// Ends a reading. False if no further one is needed.
    pub(super) fn end_reading(&self) -> bool {
        let records = &mut *self.0.borrow_mut();
        let current = std::mem::take(&mut records.current);
        records.total.merge(current);
        records.answers.clear();
        records.readings += 1;
        records.readings < MOST_READINGS
            && records.decisions.values().any(|decision| decision.count < decision.answers)
    }

    pub(super) fn into_schema(self) -> TableSchema {
        self.0.into_inner().total.into_table()
    }

    /// The answer to a question about the value at `at`: a number below `answers`. It is the same
    /// throughout a reading, and another one in the next reading that asks. Questions in different
    /// forms of the same table are different questions.
    pub(super) fn decide(&self, at: &KeyPath, question: &str, answers: usize) -> usize {
        let records = &mut *self.0.borrow_mut();
        let key = format!("{} {question}", records.current.name_of(&steps(at)));
        if let Some(answer) = records.answers.get(&key) {
            return *answer;
        }
        let decision =
            records.decisions.entry(key.clone()).or_insert(Decision { answers, count: 0 });
        let answer = decision.count % answers.max(1);
        decision.count += 1;
        records.answers.insert(key, answer);
        answer
    }

    /// Records a type of the value at `at`.
    pub(super) fn value(&self, at: &KeyPath, value: ValueSchema) {
        self.with(at, |node| add(&mut node.values, value));
    }

    pub(super) fn table(&self, at: &KeyPath) {
        self.with(at, |node| node.is_table = true);
    }

    pub(super) fn map(&self, at: &KeyPath) {
        self.with(at, |node| node.is_map = true);
    }

    pub(super) fn list(&self, at: &KeyPath, is_filled: bool) {
        self.with(at, |node| {
            node.is_list = true;
            node.is_filled |= is_filled;
        });
    }

    /// Records that the table at `at` is read even if it is not there: a key that it requires makes
    /// the table itself required.
    pub(super) fn always_read(&self, at: &KeyPath) {
        self.with(at, |node| node.is_always_read = true);
    }

    pub(super) fn required(&self, at: &KeyPath) {
        self.with(at, |node| node.is_required = true);
    }

    pub(super) fn refused(&self, at: &KeyPath) {
        self.with(at, |node| node.is_refused = true);
    }

    pub(super) fn default_value(&self, at: &KeyPath, value: Value) {
        self.with(at, |node| add(&mut node.defaults, value));
    }

    pub(super) fn old_name(&self, at: &KeyPath, name: &'static str) {
        self.with(at, |node| node.old_name = Some(name));
    }

    pub(super) fn group(&self, at: &KeyPath, group: KeyGroup) {
        self.with(at, |node| add(&mut node.groups, group));
    }

    /// Records that the table at `at` has the form in which `key` is `value`.
    pub(super) fn variant(&self, at: &KeyPath, key: &'static str, value: Option<&'static str>) {
        self.with(at, |node| node.variant = Some((key, value)));
    }

    fn with(&self, at: &KeyPath, change: impl FnOnce(&mut RecordedNode)) {
        let mut records = self.0.borrow_mut();
        let steps = steps(at);
        change(steps.iter().fold(&mut records.current, |node, step| node.step(step)));
    }
}

/// The steps of a key path, with one step for all elements of a list. Recorded paths have no quoted
/// keys.
fn steps(at: &KeyPath) -> Vec<&str> {
    let parts = at.as_str().split(['.', '[']).filter(|part| !part.is_empty());
    parts.map(|part| if part.ends_with(']') { ELEMENT } else { part }).collect()
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

/// The node of a key, which is made if it is not there. New ones come last.
fn entry<K: Ord>(nodes: &mut BTreeMap<K, RecordedNode>, key: K) -> &mut RecordedNode {
    let place = nodes.len();
    nodes.entry(key).or_insert_with(|| RecordedNode { place, ..RecordedNode::default() })
}

/// The nodes in the order in which they were made.
fn in_order<K>(nodes: BTreeMap<K, RecordedNode>) -> impl Iterator<Item = (K, RecordedNode)> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, node)| node.place);
    nodes.into_iter()
}

impl RecordedNode {
    /// The node one step inside, made if it is not there.
    fn step(&mut self, name: &str) -> &mut Self {
        entry(&mut self.inner, name.to_owned())
    }

    /// The path of steps, with the forms of the tables on the way.
    fn name_of(&self, steps: &[&str]) -> String {
        let mut name = String::new();
        let mut node = Some(self);
        for step in steps {
            if let Some((key, value)) = node.and_then(|node| node.variant) {
                name.extend(["(", key, "=", value.unwrap_or_default(), ")"]);
            }
            name.push('.');
            name.push_str(step);
            node = node.and_then(|node| node.inner.get(*step));
        }
        if let Some((key, value)) = node.and_then(|node| node.variant) {
            name.extend(["(", key, "=", value.unwrap_or_default(), ")"]);
        }
        name
    }

    /// Adds another reading. A key is required if every reading of its table required it.
    fn merge(&mut self, other: Self) {
        for value in other.values {
            add(&mut self.values, value);
        }
        for default in other.defaults {
            add(&mut self.defaults, default);
        }
        self.is_table |= other.is_table;
        self.is_map |= other.is_map;
        self.is_list |= other.is_list;
        self.is_filled |= other.is_filled;
        self.is_always_read |= other.is_always_read;
        self.is_refused |= other.is_refused;
        self.old_name = self.old_name.or(other.old_name);
        let contents = match other.variant {
            None => self,
            Some(variant) => entry(&mut self.variants, variant),
        };
        for group in other.groups {
            add(&mut contents.groups, group);
        }
        // A reading that only passed the value by says nothing about the keys of the table.
        if !(other.is_table || other.is_list) && other.inner.is_empty() {
            return;
        }
        contents.merge_inner(other.inner);
    }

    fn merge_inner(&mut self, inner: BTreeMap<String, Self>) {
        for (name, node) in &mut self.inner {
            node.is_required &= inner.contains_key(name);
        }
        for (name, other) in in_order(inner) {
            let is_first = !self.is_merged && !self.inner.contains_key(&name);
            let node = self.step(&name);
            node.is_required = other.is_required && (is_first || node.is_required);
            node.merge(other);
        }
        self.is_merged = true;
    }

    fn into_table(self) -> TableSchema {
        let variants = in_order(self.variants).map(|((key, value), node)| {
            let mut table = node.into_table();
            fix_variant(&mut table, key, value);
            VariantSchema { key, value, table }
        });
        let inner = in_order(self.inner).filter(|(_, node)| !node.is_refused);
        let keys = inner.map(|(name, node)| node.into_key(name));
        TableSchema {
            variants: variants.collect(),
            // A key that no reader converts has no value that it could have.
            keys: keys.filter(|key| !key.values.is_empty()).collect(),
            groups: self.groups,
            accepts_warnings: true,
        }
    }

    fn into_key(mut self, name: String) -> KeySchema {
        // If the default differs between readings, it depends on something else.
        let default = if self.defaults.len() == 1 { self.defaults.pop() } else { None };
        let requires = self.inner.values().any(|inner| inner.is_required);
        let is_required = self.is_required || (self.is_always_read && requires);
        let old_name = self.old_name;
        let values = self.into_values();
        KeySchema { name, values, is_required, default, old_name, description: String::new() }
    }

    fn into_values(mut self) -> Vec<ValueSchema> {
        let mut values = std::mem::take(&mut self.values);
        if self.is_list {
            let elements = self.inner.remove(ELEMENT).map(Self::into_values);
            let elements = elements.unwrap_or_default();
            let is_filled = self.is_filled;
            values.push(ValueSchema::List { elements, is_filled });
        }
        if self.is_map {
            let chosen = self.inner.remove(CHOSEN_KEY).map(Self::into_values);
            values.push(ValueSchema::Map(chosen.unwrap_or_default()));
        } else if self.is_table {
            values.push(ValueSchema::Table(self.into_table()));
        }
        values
    }
}

/// Narrows the deciding key to the value that it has in this form. It has to be there, unless the
/// value is the default.
fn fix_variant(table: &mut TableSchema, key: &str, value: Option<&str>) {
    let Some(decides) = table.keys.iter_mut().find(|known| known.name == key) else { return };
    if let Some(value) = value {
        decides.values = vec![ValueSchema::Choice(vec![value.to_owned()])];
        let is_default = decides.default.as_ref().is_some_and(|default| default == value);
        decides.is_required = !is_default;
        decides.default = decides.default.take().filter(|_| is_default);
    }
}
