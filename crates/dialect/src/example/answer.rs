//! The reply of an example, and how it is compared with an answer.
//!
//! The status has to be the same, and the answer must have each field of the reply; it may have
//! others. A body is compared whole: as JSON where the reply has JSON, so that the order of members
//! and spaces do not count, else as text. A reply without an empty line says nothing of the body.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::http_text::{ExampleField, HttpText};
use super::pattern::{ExamplePattern, ExampleValues, remember};

/// An answer that was received, to compare with the one in an example.
#[derive(Clone, Debug)]
pub struct ExampleAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The answer that the request of an example gets.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleReply {
    status: u16,
    fields: Vec<ExampleField>,
    body: Option<ReplyBody>,
}

#[derive(Clone, Debug, PartialEq)]
enum ReplyBody {
    Empty,
    Json(JsonPattern),
    Text(ExamplePattern),
}

/// A JSON value whose texts are patterns. A text that is one place stands for any value but null.
#[derive(Clone, Debug, PartialEq)]
enum JsonPattern {
    Fixed(Value),
    Text(ExamplePattern),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl ExampleReply {
    /// Reads `200 OK`, fields and a body.
    ///
    /// # Errors
    /// A message that says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let HttpText { first_line, fields, body } = HttpText::parse(text)?;
        let mut words = first_line.split(' ').filter(|word| !word.starts_with("HTTP/"));
        let status = words.next().and_then(|word| word.parse().ok());
        let status = status.filter(|status| (200..=599).contains(status)).ok_or_else(|| {
            format!("begins with `{first_line}`: the first line is a status, like `200 OK`")
        })?;
        let body = match body {
            None => None,
            Some("") => Some(ReplyBody::Empty),
            Some(text) => Some(match serde_json::from_str(text) {
                Ok(value) => ReplyBody::Json(JsonPattern::parse(value)?),
                Err(_) => ReplyBody::Text(ExamplePattern::parse(text)?),
            }),
        };
        Ok(Self { status, fields, body })
    }

    /// The names of the values that the reply shows.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter().flat_map(|field| field.value.names());
        let mut names: Vec<&str> = fields.collect();
        match &self.body {
            None | Some(ReplyBody::Empty) => {}
            Some(ReplyBody::Text(pattern)) => names.extend(pattern.names()),
            Some(ReplyBody::Json(pattern)) => pattern.collect_names(&mut names),
        }
        names.into_iter()
    }

    /// Compares the reply with an answer. The values in its places replace those of the same names
    /// in `known`.
    ///
    /// # Errors
    /// Every difference, in words. `known` stays as it was.
    pub fn compare(
        &self,
        answer: &ExampleAnswer,
        known: &mut ExampleValues,
    ) -> Result<(), Vec<String>> {
        let mut found = ExampleValues::new();
        let mut differences = Vec::new();
        if answer.status != self.status {
            let (got, wanted) = (answer.status, self.status);
            differences.push(format!("the status is {got}, not {wanted}"));
        }
        let mut used = Vec::new();
        for field in &self.fields {
            differences.extend(field.difference(answer, &mut used, &mut found));
        }
        if let Some(body) = &self.body {
            differences.extend(body.difference(&answer.body, &mut found));
        }
        if differences.is_empty() {
            known.append(&mut found);
            Ok(())
        } else {
            Err(differences)
        }
    }
}

impl ExampleField {
    /// Looks for a line of the answer that fits, among those that no other field of the reply has
    /// taken.
    fn difference<'a>(
        &self,
        answer: &'a ExampleAnswer,
        used: &mut Vec<&'a [u8]>,
        found: &mut ExampleValues,
    ) -> Option<String> {
        let lines = answer.headers.get_all(&self.name).iter().map(|line| line.as_bytes());
        let lines: Vec<&[u8]> = lines.filter(|line| !used.contains(line)).collect();
        for line in &lines {
            let mut tried = found.clone();
            if self.value.read(&String::from_utf8_lossy(line), &mut tried) {
                *found = tried;
                used.push(line);
                return None;
            }
        }
        let wanted = self.value.fill(&ExampleValues::new());
        let got: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        Some(match got.is_empty() {
            true => format!("there is no field `{}: {wanted}`", self.name),
            false => format!("`{}` is `{}`, not `{wanted}`", self.name, got.join("`, `")),
        })
    }
}

impl ReplyBody {
    fn difference(&self, body: &[u8], found: &mut ExampleValues) -> Option<String> {
        let text = String::from_utf8_lossy(body);
        let shown = || excerpt(&text);
        match self {
            Self::Empty => {
                (!body.is_empty()).then(|| format!("the body is `{}`, not empty", shown()))
            }
            Self::Text(pattern) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let is_read = pattern.read(text, found);
                (!is_read).then(|| format!("the body is `{}`", shown()))
            }
            Self::Json(pattern) => match serde_json::from_slice(body) {
                Err(_) => Some(format!("the body is no JSON: `{}`", shown())),
                Ok(value) => {
                    let mut place = "the body".to_owned();
                    let differs = !pattern.read(&value, &mut place, found);
                    differs.then(|| format!("{place} differs: the body is `{}`", shown()))
                }
            },
        }
    }
}

/// The beginning of a text, for a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 4000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl JsonPattern {
    fn parse(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(ExamplePattern::parse(&text)?),
            Value::Array(values) => {
                Self::List(values.into_iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let parse = |(name, value)| Ok::<_, String>((name, Self::parse(value)?));
                Self::Object(members.into_iter().map(parse).collect::<Result<_, _>>()?)
            }
            fixed => Self::Fixed(fixed),
        })
    }

    fn collect_names<'p>(&'p self, names: &mut Vec<&'p str>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(pattern) => names.extend(pattern.names()),
            Self::List(list) => list.iter().for_each(|inner| inner.collect_names(names)),
            Self::Object(members) => {
                members.iter().for_each(|(_, inner)| inner.collect_names(names));
            }
        }
    }

    /// Compares the pattern with a value. If they differ, `place` is where.
    fn read(&self, value: &Value, place: &mut String, found: &mut ExampleValues) -> bool {
        match (self, value) {
            (Self::Fixed(fixed), value) => fixed == value,
            (Self::Text(pattern), Value::String(text)) => pattern.read(text, found),
            (Self::Text(_), Value::Null) => false,
            (Self::Text(pattern), value) => {
                pattern.only_name().is_some_and(|name| remember(name, &value.to_string(), found))
            }
            (Self::List(patterns), Value::Array(values)) => {
                let fits = |(number, (pattern, value)): (usize, (&Self, &Value))| {
                    pattern.read_inner(value, &format!("[{number}]"), place, found)
                };
                patterns.len() == values.len() && patterns.iter().zip(values).enumerate().all(fits)
            }
            (Self::Object(patterns), Value::Object(values)) => {
                let mut fits = |(name, pattern): &(String, Self)| {
                    let value = values.get(name).unwrap_or(&Value::Null);
                    values.contains_key(name)
                        && pattern.read_inner(value, &format!(".{name}"), place, found)
                };
                patterns.len() == values.len() && patterns.iter().all(&mut fits)
            }
            (Self::List(_) | Self::Object(_), _) => false,
        }
    }

    fn read_inner(
        &self,
        value: &Value,
        step: &str,
        place: &mut String,
        found: &mut ExampleValues,
    ) -> bool {
        let before = place.len();
        place.push_str(step);
        let fits = self.read(value, place, found);
        if fits {
            place.truncate(before);
        }
        fits
    }
}
