//! TLS session tickets that every gateway with the same seal can open, so that a client resumes its
//! session on whichever of them it meets next.
//!
//! Each ticket has a key of its own, derived from the seal, the day, the listener's policy for client
//! certificates and random bytes in the ticket. A session therefore cannot be carried from a listener
//! to one with another policy or another authority, and no key encrypts more than one ticket, which
//! keeps AES-GCM with random nonces safe (NIST SP 800-38D). Nothing is kept in memory and nobody is
//! asked. `tls` is the caller.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;

use crate::clock::Clock;
use crate::secret::{Digest, random};
use crate::session::shared::Seal;
use crate::settings::ClientAuth;

/// How long a ticket is accepted: as long as the tickets of a gateway that stands alone.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How far in the future a ticket may have been issued: the clocks of gateways may differ.
const CLOCKS_APART: Duration = Duration::from_secs(5 * 60);
const DAY_SECS: u64 = 24 * 3600;
/// Upper bound in bytes on a session, and so on the work that an invented ticket makes. A session
/// has the client's certificates in it; a chain that is longer gets no ticket.
const LONGEST_SESSION: usize = 16 * 1024;

/// The form of the tickets. Another form gets another number, so that gateways of two versions
/// refuse each other's tickets instead of misreading them.
const FORM: u8 = 1;
const TIME: usize = 8;
const ID: usize = 16;
const HEADER: usize = 1 + TIME + ID + NONCE_LEN;

/// Where the keys of session tickets come from.
#[derive(Clone, Debug, Default)]
pub enum TicketKeys {
    /// From the randomness of this process: only the listener that issued a ticket opens it.
    #[default]
    Random,
    /// From the seal that the gateways of one shared store have in common.
    Sealed(Arc<Seal>),
}

impl TicketKeys {
    /// Makes the ticketer of a listener with this policy for client certificates.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub(super) fn ticketer(
        &self,
        policy: ClientAuth,
        authorities: &[(PathBuf, CertificateDer<'static>)],
        clock: &Clock,
    ) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        match self {
            Self::Random => Ticketer::new(),
            Self::Sealed(seal) => Ok(Arc::new(SealedTicketer {
                seal: seal.clone(),
                clock: clock.clone(),
                policy: digest_of(policy, authorities),
            })),
        }
    }
}

/// Which clients the listener has let in. Whoever has a ticket is not asked for a certificate again,
/// so tickets must not be worth anything where another answer would have been demanded.
fn digest_of(policy: ClientAuth, authorities: &[(PathBuf, CertificateDer<'static>)]) -> Digest {
    let policy: &[u8] = match policy {
        ClientAuth::None => b"none",
        ClientAuth::Optional => b"optional",
        ClientAuth::Required => b"required",
    };
    let certificates = authorities.iter().map(|(_, certificate)| certificate.as_ref());
    Digest::of_list(&std::iter::once(policy).chain(certificates).collect::<Vec<_>>())
}

/// Makes and opens tickets by the seal.
#[derive(Debug)]
struct SealedTicketer {
    seal: Arc<Seal>,
    clock: Clock,
    policy: Digest,
}

impl SealedTicketer {
    /// The key and the nonce for a ticket with this header; `None` if the header is of another form.
    fn key(&self, header: &[u8; HEADER]) -> Option<(LessSafeKey, Nonce)> {
        let (form, rest) = header.split_first()?;
        let (issued, rest) = rest.split_first_chunk::<TIME>()?;
        let (id, nonce) = rest.split_first_chunk::<ID>()?;
        if *form != FORM {
            return None;
        }
        let day = (u64::from_be_bytes(*issued) / DAY_SECS).to_be_bytes();
        let key = self.seal.derive(&[b"tls ticket", &[FORM], &day, &self.policy.0, id]);
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some((LessSafeKey::new(key), nonce))
    }

    /// True if a ticket that was issued at this second still counts.
    fn is_current(&self, issued: u64) -> bool {
        let now = self.clock.now();
        issued <= now.plus(CLOCKS_APART).secs()
            && now.secs() < issued.saturating_add(LIFETIME.as_secs())
    }
}

impl ProducesTickets for SealedTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if session.len() > LONGEST_SESSION {
            return None;
        }
        let mut header = [FORM; HEADER];
        let (issued, rest) = header.get_mut(1..)?.split_first_chunk_mut::<TIME>()?;
        *issued = self.clock.now().secs().to_be_bytes();
        rest.copy_from_slice(&random::<{ ID + NONCE_LEN }>());
        let (key, nonce) = self.key(&header)?;
        let mut body = session.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut body).ok()?;
        Some([header.as_slice(), &body].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (header, body) = ticket.split_first_chunk::<HEADER>()?;
        let issued = header.get(1..)?.first_chunk::<TIME>()?;
        // The time is looked at before anything is computed; the tag, which covers the header, then
        // proves it.
        let is_too_long = body.len() > LONGEST_SESSION + AES_256_GCM.tag_len();
        if is_too_long || !self.is_current(u64::from_be_bytes(*issued)) {
            return None;
        }
        let (key, nonce) = self.key(header)?;
        let mut body = body.to_vec();
        let length = key.open_in_place(nonce, Aad::from(header), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clock::{TestClock, Timestamp};
    use crate::secret::Secret;
    use crate::session::shared::SEAL_LEN;

    /// Five minutes before the end of a day.
    const EVENING: Timestamp = Timestamp::from_secs(1_795_391_700);

    fn ticketer(seal: u8, policy: ClientAuth, clock: &TestClock) -> Arc<dyn ProducesTickets> {
        let keys = TicketKeys::Sealed(Arc::new(Seal::new(&Secret::new([seal; SEAL_LEN]))));
        keys.ticketer(policy, &[], &Clock::test(clock.clone())).unwrap()
    }

    #[test]
    fn a_ticket_opens_by_the_same_seal_and_policy_and_unchanged() {
        let clock = TestClock::new(EVENING);
        let ours = ticketer(1, ClientAuth::None, &clock);
        let ticket = ours.encrypt(b"session").unwrap();

        let same = ticketer(1, ClientAuth::None, &clock);
        assert_eq!(same.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert!(ticketer(2, ClientAuth::None, &clock).decrypt(&ticket).is_none());
        assert!(ticketer(1, ClientAuth::Required, &clock).decrypt(&ticket).is_none());
        assert_ne!(ours.encrypt(b"session").unwrap(), ticket);
        assert!(!ticket.windows(7).any(|part| part == b"session"));
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert!(same.decrypt(&changed).is_none(), "byte {place}");
            assert!(same.decrypt(&ticket[..place]).is_none(), "{place} bytes");
        }
        assert!(ours.encrypt(&[0; LONGEST_SESSION + 1]).is_none());
        assert!(ours.decrypt(&[FORM; 60_000]).is_none());
    }

    #[test]
    fn a_ticket_counts_across_midnight_for_half_a_day_and_by_clocks_that_differ() {
        let at = |time| ticketer(1, ClientAuth::None, &TestClock::new(time));
        let ticket = at(EVENING).encrypt(b"session").unwrap();

        let hour = Duration::from_secs(3600);
        for (time, is_open, why) in [
            (EVENING.plus(hour), true, "the next day"),
            (EVENING.plus(hour * 12).minus(Duration::from_secs(1)), true, "its last second"),
            (EVENING.plus(hour * 12), false, "half a day later"),
            (EVENING.plus(hour * 48), false, "two days later"),
            (EVENING.minus(Duration::from_secs(300)), true, "a clock that is five minutes behind"),
            (EVENING.minus(Duration::from_secs(301)), false, "a clock further behind"),
        ] {
            assert_eq!(at(time).decrypt(&ticket).is_some(), is_open, "{why}");
        }
        let morning = EVENING.plus(Duration::from_secs(400));
        assert_ne!(morning.secs() / DAY_SECS, EVENING.secs() / DAY_SECS);
        let early = at(morning).encrypt(b"session").unwrap();
        assert!(at(morning.minus(Duration::from_secs(200))).decrypt(&early).is_some());
    }
}
