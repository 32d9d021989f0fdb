//! `forwarded_certificate` of a listener: how a balancer in front tells the certificate that a client
//! showed it.
//!
//! Only a field that is removed from every client's requests is taken: an upstream could otherwise
//! read what a client made up. A subject without its certificate is not taken, because nothing of it
//! can be verified.

use http::header::HeaderName;

use super::item::SpannedValue;
use super::reader::TableReader;
use crate::headers::is_foreign;
use crate::settings::{CertificateForm, ForwardedCertificate};

/// The field of RFC 9440, section 2.2.
const FIELD: HeaderName = HeaderName::from_static("client-cert");

impl ForwardedCertificate {
    /// Reads the table. `None` after a problem was reported.
    pub(super) fn read(mut table: TableReader<'_>) -> Option<Self> {
        table.default_is("field", FIELD.as_str());
        let field = table.get("field").map_or(Some(FIELD), |item| read_field(&item));
        let form = table.choice_or(
            "form",
            CertificateForm::Rfc9440,
            &[
                ("rfc9440", CertificateForm::Rfc9440),
                ("pem", CertificateForm::Pem),
                ("der", CertificateForm::Der),
            ],
        );
        let ca = table.required("ca", "whose certificates clients may show: \"clients.pem\"");
        let ca = ca.as_ref().and_then(SpannedValue::read_certificates);
        let (_, ca) = ca?;
        Some(Self { field: field?, form, ca })
    }
}

fn read_field(item: &SpannedValue<'_>) -> Option<HeaderName> {
    let name = HeaderName::try_from(item.string()?).ok();
    let name = name.filter(|name| is_foreign(name.as_str()) && !name.as_str().contains('_'));
    if name.is_none() {
        item.issue(
            "must be a field that no client may send, such as \"Client-Cert\", \
             \"X-SSL-Client-Cert\" or \"X-Client-Cert\"",
        );
    }
    name
}
