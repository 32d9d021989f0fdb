//! `clients` and `url` of a `[[login]]`: the programs that may call it, and where clients reach it.

use super::item::SpannedValue;
use super::key_strength::check_url;
use super::reader::TableReader;
use crate::dialect::Dialect;
use crate::settings::LoginClient;

impl LoginClient {
    /// Reads `clients`, without those that are wrong, which are reported.
    pub(super) fn read_all(table: &mut TableReader<'_>) -> Vec<Self> {
        let mut known: Vec<String> = Vec::new();
        let read = |item: &SpannedValue<'_>| {
            let client = Self::read(item)?;
            if known.contains(&client.id) {
                item.issue(format!("has the id \"{}\", which another program has", client.id));
            }
            known.push(client.id.clone());
            Some(client)
        };
        table.list("clients").iter().filter_map(read).collect()
    }

    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let id = table.required("id", "the program's id, for example \"webshop\"");
        let is_public = table.bool_or("public", false);
        let secret_item = table.get("secret");
        let secret = secret_item.as_ref().and_then(SpannedValue::secret);
        match (&secret_item, is_public) {
            (None, false) => {
                let remedy = "has no `secret`: { env = \"NAME\" } or { file = \"path\" }; a program \
                              that can keep none has `public = true`";
                item.issue(remedy);
                return None;
            }
            (Some(secret), true) => {
                secret.hidden_issue("cannot go with `public = true`: such a program has no secret")
            }
            _ => {}
        }
        Some(Self { id: id?.plain_name()?, secret })
    }
}

/// Reports `clients` at a login whose dialect looks for none.
pub(super) fn check_clients(item: Option<&SpannedValue<'_>>, dialect: &Dialect) {
    let has_place = dialect.endpoints.iter().any(|endpoint| endpoint.program.is_some());
    if let Some(item) = item.filter(|_| !has_place) {
        item.issue(format!(
            "is of no use: no endpoint of dialect \"{}\" has `client`, the place of a program",
            dialect.name
        ));
    }
}

/// Reads `url`.
pub(super) fn read_url(item: &SpannedValue<'_>) -> Option<String> {
    let text = item.string()?;
    match check_url(text, true) {
        Ok(_) if text.ends_with('/') => {
            item.issue("must be without a slash at its end: the dialect adds paths to it");
            None
        }
        Ok(_) => Some(text.to_owned()),
        Err(fault) => {
            item.issue(fault);
            None
        }
    }
}

/// Reports a login without the URL that its dialect shows.
pub(super) fn check_shown_url(table: &TableReader<'_>, dialect: &Dialect) {
    if dialect.shows_url {
        let name = &dialect.name;
        let remedy = format!(
            "is missing: answers of dialect \"{name}\" show `$login.url`, where clients reach this \
             login, for example \"https://api.example\""
        );
        table.issue("url", remedy);
    }
}
