//! Claims of tokens that the gateway makes for another system, in that system's own form.
//!
//! They are written like the claims of a dialect, with the values of the user and of the token itself
//! (`$user.…`, `$access.…`, `$now`). Unlike there, a value that is missing is a refusal: the other
//! system decides by these claims, and a token that says less could permit more. `config` compiles
//! the claims, `upstream` renders them.

use serde_json::{Map, Value};

use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::{DialectProblem, DialectProblems};
use super::template::{Template, TemplateNode};
use super::template_values::{TemplateValues, TokenValues, UserValues};
use super::times::TimeName;

/// The claims with the times of a token (RFC 7519, section 4.1).
const EXPIRES: &str = "exp";
const ISSUED: &str = "iat";

/// A template of claims, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct MintedClaims(Template);

/// A value that the claims need and the user does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user has no {name}, which the upstream's token needs")]
pub struct MissingValue {
    /// The placeholder.
    pub name: String,
}

impl MintedClaims {
    /// Compiles claims as they are written. The paths of problems begin with `claims`.
    ///
    /// # Errors
    /// Every problem: placeholders that do not exist here, and an end that is not the token's.
    pub fn check(claims: Map<String, Value>) -> Result<Self, Vec<DialectProblem>> {
        let mut problems = DialectProblems::default();
        // An end that is written out would make tokens that never end, or that never were valid.
        if let Some(end) = claims.get(EXPIRES).filter(|end| !is_end(end)) {
            let message = "is the end of the token: write \"$access.expires\", or leave it out";
            problems.add("claims.exp", end, message);
        }
        let template =
            Template::claims_of(PlaceholderScope::MINTED, claims, "claims", &mut problems);
        problems.finish(Self(template))
    }

    /// The claims of a token. `iat` and `exp` are added in seconds unless the template has them.
    ///
    /// # Errors
    /// The user lacks a value. A text without a character counts as missing, too.
    pub fn render(
        &self,
        user: UserValues,
        token: TokenValues,
    ) -> Result<Map<String, Value>, MissingValue> {
        let (issued, expires) = (token.issued.secs(), token.expires.secs());
        let values = TemplateValues {
            now: token.issued,
            user: Some(user),
            access: Some(token),
            ..TemplateValues::default()
        };
        let mut places = Vec::new();
        self.0.root().places(&mut places);
        let is_missing = |place: &&Placeholder| match place.value(&values, None) {
            None | Some(Value::Null) => true,
            Some(value) => value.as_str().is_some_and(str::is_empty),
        };
        if let Some(place) = places.into_iter().find(is_missing) {
            return Err(MissingValue { name: place.to_string() });
        }
        // Invariant: the template is a table, so that an object comes of it.
        let Value::Object(mut claims) = self.rendered(&values) else { return Ok(Map::new()) };
        claims.entry(ISSUED).or_insert_with(|| issued.into());
        claims.entry(EXPIRES).or_insert_with(|| expires.into());
        Ok(claims)
    }

    /// What the claims say of a user, as bytes. They are equal only for users whose tokens would be
    /// alike.
    pub fn of_user(&self, user: UserValues) -> Vec<u8> {
        let values = TemplateValues { user: Some(user), ..TemplateValues::default() };
        self.rendered(&values).to_string().into_bytes()
    }

    fn rendered(&self, values: &TemplateValues) -> Value {
        self.0.render(&|place| place.value(values, None))
    }
}

/// True if the value of `exp` is the end of the token, in whatever form.
fn is_end(value: &Value) -> bool {
    let mut ignored = DialectProblems::default();
    let node = TemplateNode::compile(value.clone(), PlaceholderScope::MINTED, "", &mut ignored);
    matches!(node, TemplateNode::Place(Placeholder::Time(TimeName::AccessExpires, _), _))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollhouse_core::clock::Timestamp;
    use tollhouse_core::identity::UserProfile;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn ann() -> UserValues {
        let profile = UserProfile {
            name: "ann".to_owned(),
            roles: vec!["admin".to_owned(), "user".to_owned()],
            claims: object(json!({ "tenant": 7, "empty": "" })),
            ..UserProfile::default()
        };
        UserValues { id: "u-1".to_owned(), profile }
    }

    fn token() -> TokenValues {
        TokenValues {
            id: "t-1".to_owned(),
            issued: Timestamp::from_secs(1000),
            expires: Timestamp::from_secs(1600),
            ..TokenValues::default()
        }
    }

    #[test]
    fn a_token_says_what_the_other_system_reads_and_numbers_stay_numbers() {
        let claims = object(json!({
            "sub": "$user.name",
            "usefor": "access",
            "exi": "$access.ttl",
            "jti": "$access.id",
            "tenant": "$user.claims.tenant",
            "roles": "$user.roles",
            "level": 3,
        }));
        let rendered = MintedClaims::check(claims).unwrap().render(ann(), token()).unwrap();
        let expected = json!({
            "sub": "ann",
            "usefor": "access",
            "exi": 600,
            "jti": "t-1",
            "tenant": 7,
            "roles": ["admin", "user"],
            "level": 3,
            "iat": 1000,
            "exp": 1600,
        });
        assert_eq!(Value::Object(rendered), expected);
    }

    #[test]
    fn times_are_in_the_form_that_the_claims_name() {
        let claims = object(json!({ "exp": "$access.expires_ms", "iat": "$now_ms" }));
        let rendered = MintedClaims::check(claims).unwrap().render(ann(), token()).unwrap();
        assert_eq!(Value::Object(rendered), json!({ "exp": 1_600_000, "iat": 1_000_000 }));
    }

    #[test]
    fn without_a_value_there_is_no_token() {
        for name in ["$user.email", "$user.claims.nothing", "$user.claims.empty"] {
            for text in [name.to_owned(), format!("x {name} y")] {
                let claims = object(json!({ "a": { "b": [text] } }));
                let refused = MintedClaims::check(claims).unwrap().render(ann(), token());
                assert_eq!(refused, Err(MissingValue { name: name.to_owned() }), "{text}");
            }
        }
    }

    #[test]
    fn what_other_systems_cannot_be_told_is_refused() {
        for (claims, path) in [
            (json!({ "a": "$session.id" }), "claims.a"),
            (json!({ "a": ["$user.role_number"] }), "claims.a[0]"),
            (json!({ "a": { "b": "$login.name" } }), "claims.a.b"),
            (json!({ "a": "$config.x" }), "claims.a"),
            (json!({ "a": "$access.token" }), "claims.a"),
            (json!({ "a": "$request.json.x" }), "claims.a"),
            (json!({ "exp": 9_999_999_999_u64 }), "claims.exp"),
            (json!({ "exp": "$now" }), "claims.exp"),
        ] {
            let problems = MintedClaims::check(object(claims.clone())).unwrap_err();
            assert_eq!(problems[0].path, path, "{claims}");
        }
    }

    #[test]
    fn users_whose_tokens_differ_have_different_bytes() {
        let claims = object(json!({ "sub": "$user.name", "roles": "$user.roles", "at": "$now" }));
        let claims = MintedClaims::check(claims).unwrap();
        let mut changed = ann();
        changed.profile.roles.pop();
        let mut same = ann();
        same.profile.email = Some("ann@example.org".to_owned());

        assert_ne!(claims.of_user(ann()), claims.of_user(changed));
        assert_eq!(claims.of_user(ann()), claims.of_user(same), "no claim has the address");
    }
}
