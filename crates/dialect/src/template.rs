//! Templates: JSON values with `$placeholders`, compiled.
//!
//! A placeholder that is a whole value keeps its type; inside a text it is written as text, and a
//! list is joined by commas. `${user.name}` marks the end of a name, `$$` is a dollar sign,
//! `$user.claims.features|comma` makes one text of a list.
//!
//! Values are never expanded again: a `$` in a user's name stays text, so a user cannot put
//! placeholders into an answer.

mod parse;
mod text_part;

use serde::Serialize;
use serde_json::{Map, Value};

use self::parse::parse;
pub(crate) use self::parse::{TemplatePiece, split};
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::times::TimeForm;

/// A JSON value with placeholders, compiled for one scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    root: TemplateNode,
    /// If true (claims), members without a value are left out; if false (answers), they are `null`.
    drops_missing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TemplateNode {
    Fixed(Value),
    Place(Placeholder, ListJoin),
    Text(Vec<TextPart>),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// A piece of a text that contains placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextPart {
    Text(String),
    Place(Placeholder, ListJoin),
}

/// The way a list is turned into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListJoin {
    /// Not at all: the placeholder is the whole value and keeps its type.
    None,
    Comma,
    Space,
    /// A number or a flag is written as text.
    Text,
}

/// Gives the value of a placeholder, if there is one.
pub(super) type ValueLookup<'a> = &'a dyn Fn(&Placeholder) -> Option<Value>;

impl Default for TemplateNode {
    fn default() -> Self {
        Self::Fixed(Value::Object(Map::new()))
    }
}

impl Template {
    /// Compiles the template of claims; members with missing values are left out.
    pub(super) fn claims(
        claims: Map<String, Value>,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Self {
        Self::claims_of(PlaceholderScope::CLAIMS, claims, at, problems)
    }

    /// Compiles a template of claims with the placeholders of `scope`.
    pub(super) fn claims_of(
        scope: PlaceholderScope,
        claims: Map<String, Value>,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Self {
        let root = TemplateNode::compile(Value::Object(claims), scope, at, problems);
        Self { root, drops_missing: true }
    }

    /// Renders the template with the values that `look` finds.
    pub(super) fn render(&self, look: ValueLookup<'_>) -> Value {
        self.root.render(look, self.drops_missing).unwrap_or(Value::Null)
    }

    /// True if the placeholder occurs in the template. Used to find out what a dialect's answers
    /// give to clients, for example a refresh token or the session's key.
    pub(super) fn names(&self, place: &Placeholder) -> bool {
        self.root.names(place)
    }

    /// The compiled tree, for reading an answer backwards (`client`).
    pub(super) fn root(&self) -> &TemplateNode {
        &self.root
    }
}

impl TemplateNode {
    /// Compiles `value` for a scope. A bad placeholder is reported as a problem and becomes `null`,
    /// so that checking can go on and report more.
    pub(super) fn compile(
        value: Value,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Self {
        match value {
            Value::String(text) => Self::text(&text, scope).unwrap_or_else(|message| {
                problems.add(at, &text, message);
                Self::Fixed(Value::Null)
            }),
            Value::Array(items) => {
                let compile = |(number, item)| {
                    Self::compile(item, scope, &format!("{at}[{number}]"), problems)
                };
                Self::List(items.into_iter().enumerate().map(compile).collect())
            }
            Value::Object(members) if is_time(&members) => Self::time(&members, scope)
                .unwrap_or_else(|message| {
                    problems.add(at, "", message);
                    Self::Fixed(Value::Null)
                }),
            Value::Object(members) => {
                let mut compiled = Vec::with_capacity(members.len());
                for (name, member) in members {
                    let at = format!("{at}.{name}");
                    // A date in TOML arrives as an object with a member whose name begins with `$`.
                    // JSON has no dates, so the operator must write it as text.
                    if name.starts_with('$') {
                        problems.add(&at, &name, "is no member name for JSON; dates must be text");
                    }
                    compiled.push((name, Self::compile(member, scope, &at, problems)));
                }
                Self::Object(compiled)
            }
            fixed => Self::Fixed(fixed),
        }
        .folded()
    }

    /// A time in a form of the operator's: `{ time = "$access.expires", format = "%Y-%m-%d" }`.
    fn time(members: &Map<String, Value>, scope: PlaceholderScope) -> Result<Self, String> {
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        match parse(text("time"), scope)?.as_slice() {
            [TextPart::Place(Placeholder::Time(name, TimeForm::Seconds), ListJoin::None)] => {
                let form = TimeForm::parse(text("format"))?;
                Ok(Self::Place(Placeholder::Time(*name, form), ListJoin::None))
            }
            _ => Err("must name a time, for example { time = \"$access.expires\", format = \
                      \"%Y-%m-%d\" }"
                .to_owned()),
        }
    }

    /// A text without placeholders is a fixed value; a text that is exactly one placeholder keeps
    /// the type of the placeholder's value; everything else is joined to text.
    fn text(text: &str, scope: PlaceholderScope) -> Result<Self, String> {
        let mut parts = parse(text, scope)?;
        if parts.iter().all(|part| matches!(part, TextPart::Text(_))) {
            let literal = parts.iter().map(|part| part.render(&|_| None)).collect::<String>();
            return Ok(Self::Fixed(literal.into()));
        }
        match (parts.pop(), parts.is_empty()) {
            (Some(TextPart::Place(place, join)), true) => Ok(Self::Place(place, join)),
            (last, _) => Ok(Self::Text(parts.into_iter().chain(last).collect())),
        }
    }

    /// Replaces the placeholders whose value is already known, so that less is left to do for each
    /// request. A text or object that has become fixed is then stored as one value. Used for
    /// errors, whose reason is known when the configuration is loaded.
    pub(super) fn fold(self, look: ValueLookup<'_>) -> Self {
        match self {
            Self::Place(place, join) => match look(&place) {
                Some(value) => Self::Fixed(join.apply(value)),
                None => Self::Place(place, join),
            },
            Self::Text(parts) => Self::Text(TextPart::fold(parts, look, str::to_owned)),
            Self::List(items) => {
                Self::List(items.into_iter().map(|item| item.fold(look)).collect())
            }
            Self::Object(members) => Self::Object(
                members.into_iter().map(|(name, member)| (name, member.fold(look))).collect(),
            ),
            fixed @ Self::Fixed(_) => fixed,
        }
        .folded()
    }

    /// Replaces a list, object or text that has only fixed parts by one fixed value.
    fn folded(self) -> Self {
        let is_fixed = match &self {
            Self::List(items) => items.iter().all(|item| matches!(item, Self::Fixed(_))),
            Self::Object(members) => members.iter().all(|(_, item)| matches!(item, Self::Fixed(_))),
            Self::Text(parts) => parts.iter().all(|part| matches!(part, TextPart::Text(_))),
            Self::Fixed(_) | Self::Place(..) => false,
        };
        if is_fixed { Self::Fixed(self.render(&|_| None, false).unwrap_or_default()) } else { self }
    }

    pub(super) fn render(&self, look: ValueLookup<'_>, drops_missing: bool) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Place(place, join) => look(place).map(|value| join.apply(value)),
            Self::Text(parts) => {
                Some(parts.iter().map(|part| part.render(look)).collect::<String>().into())
            }
            Self::List(items) => {
                let render = |item: &Self| item.render(look, drops_missing).unwrap_or_default();
                Some(Value::Array(items.iter().map(render).collect()))
            }
            Self::Object(members) => {
                let mut rendered = Map::with_capacity(members.len());
                for (name, member) in members {
                    // In claims a missing value leaves the member out: `null` would be a value, and
                    // verifiers elsewhere may treat it as one.
                    match member.render(look, drops_missing) {
                        None if drops_missing => {}
                        value => drop(rendered.insert(name.clone(), value.unwrap_or_default())),
                    }
                }
                Some(Value::Object(rendered))
            }
        }
    }

    /// Writes the JSON that `render` would give for an answer, without building the value first.
    /// Refusals can come in floods, and this avoids most of their allocations.
    pub(super) fn write(&self, look: ValueLookup<'_>, json: &mut Vec<u8>) {
        match self {
            Self::Fixed(value) => write(value, json),
            Self::Place(place, join) => {
                write(&look(place).map(|value| join.apply(value)).unwrap_or_default(), json);
            }
            Self::Text(parts) => {
                write(&parts.iter().map(|part| part.render(look)).collect::<String>(), json);
            }
            Self::List(items) => {
                json.push(b'[');
                for (number, item) in items.iter().enumerate() {
                    separate(number, json);
                    item.write(look, json);
                }
                json.push(b']');
            }
            Self::Object(members) => {
                json.push(b'{');
                for (number, (name, member)) in members.iter().enumerate() {
                    separate(number, json);
                    write(name, json);
                    json.push(b':');
                    member.write(look, json);
                }
                json.push(b'}');
            }
        }
    }

    pub(super) fn names(&self, wanted: &Placeholder) -> bool {
        let mut found = Vec::new();
        self.places(&mut found);
        found.contains(&wanted)
    }

    /// Adds all placeholders that occur in it.
    pub(super) fn places<'t>(&'t self, found: &mut Vec<&'t Placeholder>) {
        match self {
            Self::Fixed(_) => {}
            Self::Place(place, _) => found.push(place),
            Self::Text(parts) => TextPart::places(parts, found),
            Self::List(items) => items.iter().for_each(|item| item.places(found)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.places(found)),
        }
    }
}

/// True for the table of a time and its form.
fn is_time(members: &Map<String, Value>) -> bool {
    let is_place = |value: &Value| value.as_str().is_some_and(|text| text.starts_with('$'));
    members.len() == 2
        && members.get("time").is_some_and(is_place)
        && members.get("format").is_some_and(Value::is_string)
}

fn write(value: &(impl Serialize + ?Sized), json: &mut Vec<u8>) {
    // Texts and values have only text keys and finite numbers, so writing them as JSON cannot fail.
    let _ = serde_json::to_writer(json, value);
}

fn separate(number: usize, json: &mut Vec<u8>) {
    if number > 0 {
        json.push(b',');
    }
}

impl ListJoin {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "comma" => Some(Self::Comma),
            "space" => Some(Self::Space),
            "text" => Some(Self::Text),
            _ => None,
        }
    }

    /// The value where the placeholder is the whole value: unchanged, unless a filter makes it
    /// text. A list of roles thus stays a list in JSON, and becomes one text only on request.
    fn apply(self, value: Value) -> Value {
        match self {
            Self::None => value,
            Self::Comma | Self::Space | Self::Text => self.write(&value).into(),
        }
    }

    /// The value as text. A missing value is written as nothing.
    fn write(self, value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Array(items) => {
                let separator = if self == Self::Space { " " } else { "," };
                items.iter().map(|item| self.write(item)).collect::<Vec<_>>().join(separator)
            }
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollhouse_core::identity::UserProfile;

    use super::*;
    use crate::{Dialect, TemplateValues, UserValues};

    fn facts() -> TemplateValues {
        let Value::Object(claims) = json!({"features": ["a", "b"], "n": 1, "deep": {"er": true}})
        else {
            panic!("an object");
        };
        let profile = UserProfile {
            name: "$user.id".to_owned(),
            roles: vec!["root".to_owned(), "dev".to_owned()],
            claims,
            ..UserProfile::default()
        };
        let user = UserValues { profile, ..UserValues::default() };
        TemplateValues { user: Some(user), ..TemplateValues::default() }
    }

    fn render(template: Value) -> Value {
        let mut problems = DialectProblems::default();
        let root =
            TemplateNode::compile(template, PlaceholderScope::TOKENS, "reply", &mut problems);
        let template = Template { root, drops_missing: false };
        assert_eq!(problems.finish(()), Ok(()));
        let dialect = Dialect::builtin("webitel").expect("built in");
        let facts = facts();
        let mut written = Vec::new();
        template.root.write(&|place| place.value(&facts, Some(&dialect)), &mut written);
        let rendered = dialect.render(&template, &facts);
        assert_eq!(String::from_utf8(written).expect("text"), rendered.to_string());
        rendered
    }

    #[test]
    fn placeholders_render_as_described() {
        for (template, rendered, why) in [
            ("plain", json!("plain"), "nothing to do"),
            ("$user.roles", json!(["root", "dev"]), "a whole value keeps its type"),
            ("$user.role_number", json!(0), "a number stays a number"),
            ("$user.roles|comma", json!("root,dev"), "unless a filter makes it text"),
            ("${user.roles|space}", json!("root dev"), "also in braces"),
            ("is $user.roles.", json!("is root,dev."), "a dot before no name is text"),
            ("${user.claims.n}st", json!("1st"), "braces end a name"),
            ("$user.claims.deep.er", json!(true), "a path into claims"),
            ("$user.name", json!("$user.id"), "what is put in is not expanded again"),
            ("$$5 of $$user.name", json!("$5 of $user.name"), "two are one, and end there"),
            ("$user.email", json!(null), "what is missing is null"),
            ("<$user.email>", json!("<>"), "and nothing inside text"),
            ("$access.token", json!(null), "no token, no value"),
        ] {
            assert_eq!(render(template.into()), rendered, "{template}: {why}");
        }
    }

    #[test]
    fn members_keep_their_order() {
        let rendered = render(json!({"z": "$user.claims.n", "a": [1, "$user.name"]}));

        assert_eq!(rendered.to_string(), r#"{"z":1,"a":[1,"$user.id"]}"#);
    }

    #[test]
    fn claims_leave_out_what_is_missing() {
        let Value::Object(claims) = json!({"email": "$user.email", "n": {"x": "$user.claims.n"}})
        else {
            panic!("an object");
        };
        let template = Template::claims(claims, "claims", &mut DialectProblems::default());

        let rendered = Dialect::builtin("aviate").expect("built in").render(&template, &facts());

        assert_eq!(rendered, json!({"n": {"x": 1}}));
    }

    #[test]
    fn bad_placeholders_are_problems_with_a_remedy() {
        for (text, scope, message) in [
            ("$user.nme", PlaceholderScope::TOKENS, "did you mean `$user.name`"),
            ("costs $5", PlaceholderScope::TOKENS, "`$5` is no placeholder"),
            ("100 $", PlaceholderScope::TOKENS, "write `$$`"),
            ("${user.name", PlaceholderScope::TOKENS, "without its `}`"),
            ("$user.roles|upper", PlaceholderScope::TOKENS, "no filter `upper`"),
            ("$user.claims.", PlaceholderScope::TOKENS, "no placeholder"),
            ("$session.key", PlaceholderScope::CLAIMS, "no placeholder"),
            ("$access.token", PlaceholderScope::CLAIMS, "no placeholder"),
            ("$user.name", PlaceholderScope::NOBODY, "no placeholder"),
            ("$user.name", PlaceholderScope::ERROR, "$request_id"),
            ("$status", PlaceholderScope::TOKENS, "no placeholder"),
        ] {
            let mut problems = DialectProblems::default();
            TemplateNode::compile(json!({"a": [text]}), scope, "reply", &mut problems);
            let found = problems.finish(()).expect_err(text);

            assert_eq!((found[0].path.as_str(), found[0].value.as_str()), ("reply.a[0]", text));
            assert!(found[0].message.contains(message), "{text}: {}", found[0].message);
        }
    }
}
