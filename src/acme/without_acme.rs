//! A stand-in for a build without the feature `acme`, so that the caller stays as it is. `config`
//! refuses every `acme` first.

use super::AcmeContext;
use crate::settings::AcmeSettings;

#[derive(Debug)]
pub(crate) struct AcmeRenewal;

impl AcmeRenewal {
    pub(crate) fn new(_: AcmeSettings, _: bool, _: AcmeContext) -> Self {
        Self
    }

    pub(crate) async fn run(self) {}
}
