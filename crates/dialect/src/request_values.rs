//! The values of a client's request that answers show, for `$request.…`.

use serde_json::Value;

use super::carrier::Carrier;

/// Values that the client sent, by their places: those that the endpoint's answers show. Each is a
/// text of at most 256 bytes, a number or a flag.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestValues(pub(crate) Vec<(Carrier, Value)>);

impl RequestValues {
    pub(crate) fn find(&self, at: &Carrier) -> Option<Value> {
        self.0.iter().find(|(known, _)| known == at).map(|(_, value)| value.clone())
    }
}
