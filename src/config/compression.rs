//! `compression` of a route: the content codings with which its answers are compressed.
//!
//! It is off by default: an answer that contains a secret and text of an attacker's choice can be
//! guessed from its compressed length (the BREACH attack). `pipeline` picks the coding that the
//! client accepts.

use super::reader::TableReader;
use crate::settings::CompressionSettings;

#[derive(Clone, Copy)]
enum ContentCoding {
    Zstd,
    Br,
    Gzip,
}

const CODINGS: [(&str, ContentCoding); 3] =
    [("zstd", ContentCoding::Zstd), ("br", ContentCoding::Br), ("gzip", ContentCoding::Gzip)];

impl CompressionSettings {
    /// Reads a list of codings, or `true` for all.
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let mut chosen = Self::default();
        table.default_is("compression", Vec::<String>::new());
        let Some(item) = table.get("compression") else { return chosen };
        if item.is_bool() {
            let all = item.bool().unwrap_or(false);
            return Self { zstd: all, br: all, gzip: all };
        }
        for item in item.list().unwrap_or_default() {
            let Some(coding) = item.choice(&CODINGS) else { continue };
            let place = match coding {
                ContentCoding::Zstd => &mut chosen.zstd,
                ContentCoding::Br => &mut chosen.br,
                ContentCoding::Gzip => &mut chosen.gzip,
            };
            // The order in the list has no meaning, so a coding that is named twice is a mistake.
            if std::mem::replace(place, true) {
                item.issue("stands here twice");
            }
        }
        chosen
    }
}
