//! `[[signature]]`: how a kind of clients signs its requests.
//!
//! A signature has to cover the time, or an old request would be good for ever. What else it should
//! cover and does not is warned of. `algorithms` has at most one for each type of key, so that the
//! algorithm follows from the key. Whether the keys fit is checked in `cross_checks_signatures`.

use std::time::Duration;

use super::item::SpannedValue;
use super::names::SectionNames;
use super::reader::TableReader;
use super::signed_place::{read_carrier, read_place};
use super::suggest::no_such;
use super::template_text::{TextPiece, pieces};
use super::token::algorithm;
use super::warnings::WarningName;
use crate::algorithm::Algorithm;
use crate::dialect::Carrier;
use crate::settings::{
    EcdsaForm, SignatureEncoding, SignatureSettings, SignedPart, SignedTemplate, SignedTime,
    TimeUnit,
};

/// Enough for the clocks of servers and for the way of a request.
const SKEW: Duration = Duration::from_secs(30);
/// Signatures are remembered for as long, so a longer time would need much memory.
const LONGEST_SKEW: Duration = Duration::from_secs(15 * 60);
/// One for each type of key, with the shortest of its usual hashes.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::HS256];

impl SignatureSettings {
    /// Reads one section. `None` if a part of it could not be read, which has been reported.
    pub(super) fn read(mut table: TableReader<'_>, names: &mut SectionNames) -> Option<Self> {
        // Everything is read before anything can return, so that all problems of the section are
        // reported.
        let name = names.read(&mut table, None);
        let key = table.required("key", "where the key's id is: { field = \"X-API-Key\" }");
        let key = key.as_ref().and_then(read_carrier);
        let item = table.required("signature", "where it is: { field = \"X-API-Signature\" }");
        let signature = item.as_ref().and_then(read_carrier);
        let encoding = table.choice_or(
            "encoding",
            SignatureEncoding::Base64,
            &[
                ("base64", SignatureEncoding::Base64),
                ("base64url", SignatureEncoding::Base64Url),
                ("hex", SignatureEncoding::Hex),
            ],
        );
        let forms = [("der", EcdsaForm::Der), ("fixed", EcdsaForm::Fixed)];
        let ecdsa = table.choice_or("ecdsa", EcdsaForm::Der, &forms);
        let timestamp = table.required(
            "timestamp",
            "where the time is: { field = \"X-API-Timestamp\", unit = \"ms\" }",
        );
        let timestamp = timestamp.and_then(|item| read_time(item.table()?));
        let signed =
            table.required("signed", "what is signed, for example \"$timestamp$method$uri$body\"");
        let signed = signed.as_ref().and_then(read_signed);
        let algorithms = read_algorithms(&mut table);
        if let (Some(Carrier::Query(_)), Some(item), Some(signed)) = (&signature, &item, &signed)
            && (signed.has(&SignedPart::Uri) || signed.has(&SignedPart::Query))
        {
            item.issue("is in the query, which it would have to sign: sign $path, or use a field");
        }
        let (key, signature, timestamp) = (key?, signature?, timestamp?);
        if let Some(place) = shared_place([&key, &signature, &timestamp.place]) {
            table.issue("", format!("has two parts of a credential in one place: {place}"));
        }
        let signed = signed?;
        Some(Self { name, key, signature, encoding, ecdsa, timestamp, signed, algorithms })
    }
}

/// A place that two parts share. There is only one `Authorization`, whatever its scheme.
fn shared_place(places: [&Carrier; 3]) -> Option<&Carrier> {
    let is_shared = |one: &Carrier, other: &Carrier| match (one, other) {
        (Carrier::Scheme(_), Carrier::Scheme(_)) => true,
        (one, other) => one == other,
    };
    let [key, signature, timestamp] = places;
    [(key, signature), (key, timestamp), (signature, timestamp)]
        .into_iter()
        .find_map(|(one, other)| is_shared(one, other).then_some(other))
}

fn read_time(mut table: TableReader<'_>) -> Option<SignedTime> {
    let place = read_place(&mut table);
    let units = [("s", TimeUnit::Seconds), ("ms", TimeUnit::Milliseconds)];
    let unit = table.choice_or("unit", TimeUnit::Seconds, &units);
    let skew = table.duration_or("skew", SKEW, Duration::from_secs(1)..=LONGEST_SKEW);
    Some(SignedTime { place: place?, unit, skew })
}

fn read_signed(item: &SpannedValue<'_>) -> Option<SignedTemplate> {
    let template = match SignedTemplate::parse(item.string()?) {
        Ok(template) => template,
        Err(remedy) => {
            item.issue(remedy);
            return None;
        }
    };
    let has = |part| template.has(&part);
    // Without the time, a request that was seen once could be sent again for ever.
    if !has(SignedPart::Timestamp) {
        item.issue("must have $timestamp: else an old signature would be good for ever");
    }
    let uncovered = [
        (has(SignedPart::Method), "the method"),
        (has(SignedPart::Uri) || has(SignedPart::Path), "the path"),
        (has(SignedPart::Uri) || has(SignedPart::Query), "the query"),
        (template.has_body(), "the body"),
    ];
    let uncovered: Vec<&str> =
        uncovered.into_iter().filter(|(is_covered, _)| !is_covered).map(|(_, part)| part).collect();
    if !uncovered.is_empty() {
        item.warn(
            WarningName::WeakSignature,
            format!("does not cover {}: another could be sent with it", uncovered.join(", ")),
        );
    }
    Some(template)
}

impl SignedTemplate {
    /// Parses text with `$placeholders`; `$$` stands for a dollar sign.
    fn parse(text: &str) -> Result<Self, String> {
        let known = || SignedPart::PLACEHOLDERS.iter();
        let parts = pieces(text, placeholder).into_iter().map(|piece| match piece {
            TextPiece::Plain(text) => Ok(SignedPart::Text(text)),
            TextPiece::Name(name) => {
                let part = known().find(|(known, _)| *known == name).map(|(_, part)| part.clone());
                part.ok_or_else(|| no_such("placeholder", name, known().map(|(name, _)| *name)))
            }
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

/// The name at the beginning of `text`. Anything else ends it, since values are signed side by side.
fn placeholder(text: &str) -> &str {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let end = text.bytes().position(|byte| !is_name(byte)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Reads `algorithms`. Two for one type of key would leave open which of them a key verifies.
fn read_algorithms(table: &mut TableReader<'_>) -> Vec<Algorithm> {
    table.default_is("algorithms", ALGORITHMS.map(Algorithm::as_str).to_vec());
    let Some(item) = table.get("algorithms") else { return ALGORITHMS.to_vec() };
    let list = item.filled_list("must name at least one algorithm").unwrap_or_default();
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for item in &list {
        let Some(algorithm) = algorithm(item) else { continue };
        let same = algorithms.iter().find(|known| known.key_type() == algorithm.key_type());
        match same {
            Some(known) if *known == algorithm => item.issue("stands here twice"),
            Some(known) => item.issue(format!(
                "is for {}, as {} is: one of them",
                algorithm.key_type(),
                known.as_str()
            )),
            None => algorithms.push(algorithm),
        }
    }
    algorithms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_texts_and_values() {
        use SignedPart::{Body, BodyDigest, Method, Text, Timestamp, Uri};
        let text = |text: &str| Text(text.to_owned());
        for (template, expected) in [
            ("$timestamp$method$uri$body", Some(vec![Timestamp, Method, Uri, Body])),
            ("$method\n$uri\n", Some(vec![Method, text("\n"), Uri, text("\n")])),
            ("v1:$body_sha256", Some(vec![text("v1:"), BodyDigest])),
            ("$$5$timestamp.$$", Some(vec![text("$5"), Timestamp, text(".$")])),
            ("$methodX", Some(vec![Method, text("X")])),
            ("$nonce", None),
            ("$", None),
            ("$Method", None),
        ] {
            let parsed = SignedTemplate::parse(template).ok();

            assert_eq!(parsed.map(|parsed| parsed.0), expected, "{template}");
        }
    }
}
