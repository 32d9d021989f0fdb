//! Self-signed certificates, so that a first start can use TLS.
//!
//! One is made for a list of names and kept under a file name that is derived from them. It is made
//! again when it nears its end, or when it does not fit its key or its names any more. For
//! development only: clients do not trust it unless they are told to.

use std::io;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::durable_file;
use crate::settings;

use super::certificate_file::{CertError, CertificateAndKey};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Just below the longest life that clients accept. Browsers refuse server certificates that are
/// valid for more than 398 days, also those that a user has decided to trust.
const LIFE: Duration = Duration::from_secs(397 * DAY.as_secs());
/// Early enough: a gateway that runs for months without a restart does not serve one near its end.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY.as_secs());

/// The files of a certificate for `names` in `folder`. They are made if they do not exist or cannot
/// be used any more. The names are compared as a set, so their order in the configuration does not
/// matter.
pub(super) fn ensure(
    folder: &Path,
    names: &[String],
    now: Timestamp,
    provider: &CryptoProvider,
) -> Result<settings::CertificateFiles, CertError> {
    let stem = stem(names);
    let file = settings::CertificateFiles {
        chain: folder.join(format!("{stem}.crt")),
        key: folder.join(format!("{stem}.key")),
    };
    if !is_fit(&file, names, now, provider)? {
        make(folder, &file, names, now)?;
        tracing::info!(chain = %file.chain.display(), "made a self-signed certificate");
    }
    Ok(file)
}

/// The file name for a list of names. It is readable, for people who pass the file to
/// `curl --cacert`, and different for every list. A long list is replaced by a digest, because file
/// names are limited.
fn stem(names: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let safe = |name: &String| name.to_ascii_lowercase().replace(|c: char| !plain(c), "_");
    let joined = names.iter().map(safe).collect::<Vec<_>>().join("+");
    if joined.len() <= 120 {
        return joined;
    }
    let digest = digest::digest(&digest::SHA256, joined.as_bytes());
    let short: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("self-signed-{short}")
}

/// True if the files contain a certificate for exactly these names that is valid for long enough.
/// The error is about files that exist and may not be read.
fn is_fit(
    file: &settings::CertificateFiles,
    names: &[String],
    now: Timestamp,
    provider: &CryptoProvider,
) -> Result<bool, CertError> {
    let mut digest = digest::Context::new(&digest::SHA256);
    let pair = match CertificateAndKey::read(file, &mut digest) {
        Ok(pair) => pair,
        // If the file may not be read, it is somebody else's, and it must not be overwritten.
        Err(CertError::Read { source, path }) if source.kind() != io::ErrorKind::NotFound => {
            return Err(CertError::Read { source, path });
        }
        Err(_) => return Ok(false),
    };
    let (Ok(facts), Ok(mut covered)) = (pair.facts(), pair.all_names()) else { return Ok(false) };
    let mut wanted: Vec<_> = names.iter().map(|name| canonical(name)).collect();
    wanted.sort_unstable();
    covered.sort_unstable();
    Ok(wanted == covered
        && !facts.ends_within(RENEW_BEFORE, now)
        && pair.certified(provider).is_ok())
}

/// A name in the form in which a certificate contains it.
fn canonical(name: &str) -> String {
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

fn make(
    folder: &Path,
    file: &settings::CertificateFiles,
    names: &[String],
    now: Timestamp,
) -> Result<(), CertError> {
    let failed = |source| CertError::SelfSigned { names: names.join(", "), source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params =
        CertificateParams::new(names.iter().map(|name| canonical(name)).collect::<Vec<_>>())
            .map_err(failed)?;
    let at =
        |instant: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(instant.secs());
    // A client whose clock is a little slow must not find the certificate not yet valid.
    params.not_before = at(now.minus(DAY));
    params.not_after = at(now.plus(LIFE));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Tollhouse self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(failed)?;

    durable_file::create_folder(folder)
        .map_err(|source| CertError::Write { path: folder.to_owned(), source })?;
    // The key is written first: a chain without its key would look complete.
    let text = Zeroizing::new(key.serialize_pem());
    write(&file.key, text.as_bytes(), 0o600)?;
    write(&file.chain, certificate.pem().as_bytes(), 0o644)
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), CertError> {
    let written = durable_file::write(path, contents, mode);
    written.map_err(|source| CertError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_readable_and_safe() {
        for (names, expected, why) in [
            (&["localhost"][..], "localhost", "as it is"),
            (&["localhost", "::1"], "localhost+__1", "no colon in a file name"),
            (&["*.Dev.test"], "_.dev.test", "no star, no capitals"),
            (&["../../etc"], ".._.._etc", "no way out of the folder"),
        ] {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(stem(&names), expected, "{why}");
        }
        let many: Vec<_> = (0..50).map(|n| format!("host-{n}.example.com")).collect();
        assert!(stem(&many).len() < 40, "a long list is named by its digest");
    }
}
