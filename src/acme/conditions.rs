//! Facts for operators about certificates by ACME: which is not there yet, and which could not
//! be renewed. The readiness report and the status show it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// The conditions of all certificates that are looked after at present.
#[derive(Debug, Default)]
pub(crate) struct AcmeConditions(Mutex<ConditionList>);

#[derive(Debug, Default)]
struct ConditionList {
    next: u64,
    conditions: BTreeMap<u64, CertificateCondition>,
}

/// The condition of one certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct CertificateCondition {
    /// The names, for people.
    pub(super) names: String,
    /// The end of the certificate that is served; `None` if there is none yet.
    pub(super) not_after: Option<Timestamp>,
    /// The cause of the last failure, and when the next order is placed.
    pub(super) failure: Option<(String, Timestamp)>,
}

/// The place of one certificate in the list, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct ConditionPlace {
    list: Arc<AcmeConditions>,
    number: u64,
}

impl AcmeConditions {
    /// A sentence about each certificate that is missing or could not be renewed.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.0.lock().conditions.values().filter_map(CertificateCondition::note).collect()
    }

    pub(super) fn enter(self: &Arc<Self>) -> ConditionPlace {
        let mut list = self.0.lock();
        list.next += 1;
        let number = list.next;
        list.conditions.insert(number, CertificateCondition::default());
        ConditionPlace { list: self.clone(), number }
    }
}

impl ConditionPlace {
    pub(super) fn set(&self, condition: CertificateCondition) {
        self.list.0.lock().conditions.insert(self.number, condition);
    }
}

impl Drop for ConditionPlace {
    fn drop(&mut self) {
        self.list.0.lock().conditions.remove(&self.number);
    }
}

impl CertificateCondition {
    fn note(&self) -> Option<String> {
        let Self { names, .. } = self;
        match (&self.not_after, &self.failure) {
            (Some(_), None) => None,
            (None, None) if names.is_empty() => None,
            (None, None) => Some(format!(
                "acme: {names} has a self-signed certificate until the first one is issued"
            )),
            (None, Some((cause, next))) => Some(format!(
                "acme: {names} has a self-signed certificate, none was issued: {cause}; the next \
                 order is at {next}"
            )),
            (Some(end), Some((cause, next))) => Some(format!(
                "acme: the certificate of {names} was not renewed and ends at {end}: {cause}; the \
                 next order is at {next}"
            )),
        }
    }
}
