//! A stand-in for mail in a build without the feature `mail`: a mailer that nobody can make, so that
//! the modules that send codes stay as they are. `config` refuses `[mail]` first.

use std::net::IpAddr;
use std::time::Duration;

use crate::features::LeftOut;
use crate::secret::SecretString;
use crate::settings;

#[derive(Debug)]
pub(crate) enum CodeMailer {}

pub(crate) type MailError = LeftOut;

impl CodeMailer {
    pub(crate) fn new(_: &settings::MailSettings) -> Result<Self, MailError> {
        Err(LeftOut("mail"))
    }

    pub(crate) async fn reach(&self) -> Result<String, String> {
        match *self {}
    }

    pub(crate) fn code_ttl(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn per_hour(&self) -> u32 {
        match *self {}
    }

    pub(crate) async fn send(
        &self,
        _: &str,
        _: &str,
        _: &SecretString,
        _: Option<IpAddr>,
    ) -> Result<(), MailError> {
        match *self {}
    }
}
