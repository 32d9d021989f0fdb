//! Codes of an authenticator app (TOTP, RFC 6238): SHA-1, six digits, steps of thirty seconds.
//!
//! Every authenticator app supports these parameters; many support no others. A code is valid in
//! its own step and in the one before and after it, for clocks that differ (section 5.2). That a
//! code is valid only once is not decided here but by the store (`use_totp_step`).

use totp_rs::Builder;

use crate::clock::Timestamp;
use crate::secret::{self, Secret, SecretString};
use crate::session::TotpSecret;

/// The length of a time step in seconds (RFC 6238, section 4.1).
const STEP: u64 = 30;
/// 160 bits, the length that RFC 4226, section 4, recommends.
const SECRET_BYTES: usize = 20;

/// A new random secret for a user's authenticator. It has effect only once it is stored.
pub(crate) fn new_totp(now: Timestamp) -> TotpSecret {
    TotpSecret { secret: Secret::new(secret::random::<SECRET_BYTES>().to_vec()), made: now }
}

/// The `otpauth:` URL for an authenticator app, usually shown as a QR code. It contains the secret.
/// `None` if the library refuses the parameters.
pub(crate) fn totp_address(totp: &TotpSecret, issuer: &str, account: &str) -> Option<SecretString> {
    // A colon separates issuer and account in this URL, so it cannot be part of either.
    let label = |text: &str| text.replace(':', " ");
    let totp = authenticator(totp)
        .with_issuer(Some(label(issuer)))
        .with_account_name(label(account))
        .build()
        .ok()?;
    totp.to_url().ok().map(SecretString::new)
}

/// The latest of the three steps around `now` that has this code. All three codes are computed and
/// compared in constant time, so that the duration tells nothing about the right code.
pub(super) fn matching_step(totp: &TotpSecret, code: &SecretString, now: Timestamp) -> Option<u64> {
    let current = now.secs() / STEP;
    let codes = authenticator(totp).build().ok()?;
    (current.saturating_sub(1)..=current.saturating_add(1)).fold(None, |found, step| {
        let right = SecretString::new(codes.generate(step.saturating_mul(STEP)).to_string());
        let same = secret::equal(right.expose().as_bytes(), code.expose().as_bytes());
        if same { Some(step) } else { found }
    })
}

fn authenticator(totp: &TotpSecret) -> Builder {
    Builder::new().with_secret(totp.secret.expose().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 6238, appendix B, reduced to the last six of eight digits.
    const VECTORS: [(u64, &str); 5] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (20_000_000_000, "353130"),
    ];

    fn totp() -> TotpSecret {
        let secret = Secret::new(b"12345678901234567890".to_vec());
        TotpSecret { secret, made: Timestamp::default() }
    }

    fn at(code: &str, second: u64) -> Option<u64> {
        matching_step(&totp(), &code.into(), Timestamp::from_secs(second))
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (second, code) in VECTORS {
            assert_eq!(at(code, second), Some(second / STEP), "{code}");
        }
    }

    #[test]
    fn a_code_counts_one_step_early_and_one_late_and_no_longer() {
        let second = 1_111_111_111;
        let code = "050471";
        let step = second / STEP;
        for (steps, counts) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let now = (step * STEP).saturating_add_signed(steps * 30);
            assert_eq!(at(code, now), counts.then_some(step), "{steps} steps away");
        }
    }

    #[test]
    fn what_is_not_six_digits_is_no_code() {
        for code in ["", "50471", "0050471", "050 471", "05047l", "+50471", "０５０４７１"] {
            assert_eq!(at(code, 1_111_111_111), None, "{code}");
        }
    }

    #[test]
    fn an_authenticator_reads_the_address() {
        let address = totp_address(&totp(), "gw.example:8443", "ann@acme").unwrap();

        let read = totp_rs::Totp::from_url(address.expose()).unwrap();

        assert_eq!(read.secret().as_ref(), b"12345678901234567890");
        assert_eq!((read.issuer(), read.account_name()), (Some("gw.example 8443"), "ann@acme"));
        assert_eq!((read.digits(), read.step()), (6, 30));
    }
}
