//! The spelling of values in a configuration, for `Serialize`: the inverse of what `config` reads.
//!
//! Each function is named by a `serialize_with` of the settings. A secret has none: its type can
//! only be written as `***`.

use std::fmt::Display;
use std::time::Duration;

use http::HeaderValue;
use serde::{Serialize, Serializer};

use super::{duration, size};
use crate::clock::{Timestamp, day_ended};
use crate::dialect::client::ProgramCredential;
use crate::dialect::{CallCarrier, Carrier, CorsOrigins, CorsPolicy, Dialect, PairCarrier};
use crate::secret::{Digest, SecretString};

/// Written in the place of a value that `config` replaces by the text of the file: the name of a
/// file whose contents were read, or a secret.
const HIDDEN: &str = "***";

pub(super) fn duration<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&duration::render(*value))
}

/// The id of a program, and whether it has a secret.
pub(super) fn program<S: Serializer>(
    value: &Option<ProgramCredential>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let Some(program) = value else { return to.serialize_none() };
    let secret = program.secret.as_ref().map(|_| ("secret", HIDDEN));
    to.collect_map([("id", program.id.as_str())].into_iter().chain(secret))
}

pub(super) fn maybe_duration<S: Serializer>(
    value: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    value.map(duration::render).serialize(to)
}

/// A number of bytes.
pub(super) fn size<S: Serializer, T: Copy + TryInto<u64>>(
    value: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&size::render((*value).try_into().unwrap_or(u64::MAX)))
}

pub(super) fn text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(super) fn texts<S: Serializer>(values: &[impl Display], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(ToString::to_string))
}

/// A path of the gateway's own; the empty text stands for none.
pub(super) fn text_or_empty<S: Serializer>(
    value: &Option<String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.as_deref().unwrap_or_default())
}

pub(super) fn maybe_field_value<S: Serializer>(
    value: &Option<HeaderValue>,
    to: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes())).serialize(to)
}

/// A table whose keys are chosen by the operator, in the order of the file.
pub(super) fn entries<S: Serializer>(
    entries: &[(impl AsRef<str>, impl Serialize)],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(entries.iter().map(|(key, value)| (key.as_ref(), value)))
}

pub(super) fn hex<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&digest.hex())
}

/// An end, as the last day before it.
pub(super) fn maybe_last_day<S: Serializer>(
    end: &Option<Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    end.map(day_ended).serialize(to)
}

pub(super) fn dialect<S: Serializer>(dialect: &Dialect, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&dialect.name)
}

pub(super) fn hidden<S: Serializer, T>(_: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(HIDDEN)
}

pub(super) fn maybe_hidden<S: Serializer, T>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|_| HIDDEN).serialize(to)
}

/// The place of a credential, as a table with one key.
pub(super) fn carrier<S: Serializer>(place: &Carrier, to: S) -> Result<S::Ok, S::Error> {
    let pair = match place {
        Carrier::Scheme(scheme) => ("scheme", scheme.clone()),
        Carrier::Field(name) => ("field", name.to_string()),
        Carrier::Cookie(name) => ("cookie", name.clone()),
        Carrier::Query(name) => ("query", name.clone()),
        Carrier::Variable(name) => ("path", name.clone()),
        Carrier::Member(_, path) => ("json", path.names().join(".")),
    };
    to.collect_map([pair])
}

/// The place of a token, or of a pair.
pub(super) fn call_carrier<S: Serializer>(carrier: &CallCarrier, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct CarrierPlace<'c>(#[serde(serialize_with = "self::carrier")] &'c Carrier);

    #[derive(Serialize)]
    struct CarrierPair<'c> {
        token: CarrierPlace<'c>,
        key: CarrierPlace<'c>,
    }

    match carrier {
        CallCarrier::Token(token) => self::carrier(token, to),
        CallCarrier::Pair(PairCarrier { token, key, .. }) => to.collect_map([(
            "pair",
            CarrierPair { token: CarrierPlace(token), key: CarrierPlace(key) },
        )]),
    }
}

/// The secret of a program, or that it can keep none.
pub(super) fn program_secret<S: Serializer>(
    secret: &Option<SecretString>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => to.collect_map([("secret", secret)]),
        None => to.collect_map([("public", true)]),
    }
}

/// No key at all.
pub(super) fn nothing<S: Serializer, T>(_: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(std::iter::empty::<(&str, &str)>())
}

/// CORS rules of a login or a route; the two have the same keys.
pub(super) fn cors<S: Serializer>(cors: &CorsPolicy, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct CorsTable<'a> {
        origins: Vec<&'a str>,
        methods: &'a [String],
        headers: &'a [String],
        expose: &'a [String],
        credentials: bool,
        #[serde(serialize_with = "duration")]
        max_age: Duration,
        preflight_status: u16,
    }

    let origins = match &cors.origins {
        CorsOrigins::Any => vec!["*"],
        CorsOrigins::Echo => vec!["echo"],
        CorsOrigins::List(origins) => origins.iter().map(String::as_str).collect(),
    };
    let table = CorsTable {
        origins,
        methods: &cors.methods,
        headers: &cors.headers,
        expose: &cors.expose,
        credentials: cors.credentials,
        max_age: cors.max_age,
        preflight_status: cors.preflight_status,
    };
    table.serialize(to)
}

pub(super) fn maybe_cors<S: Serializer>(
    policy: &Option<impl AsRef<CorsPolicy>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match policy {
        Some(policy) => cors(policy.as_ref(), to),
        None => to.serialize_none(),
    }
}
