use http::HeaderValue;
use serde_json::json;

use super::*;

fn headers(types: &[&str]) -> HeaderMap {
    let value = |text: &&str| (CONTENT_TYPE, HeaderValue::from_str(text).expect("a field value"));
    types.iter().map(value).collect()
}

fn accepts(kinds: &[BodyKind]) -> Accepts {
    Accepts { kinds: kinds.to_vec(), ..Accepts::default() }
}
