//! Counts of failed attempts in the shared store, by account and by address.
//!
//! All counts of an account are one record, so that each step sees and changes them together: the
//! strangers' common count, the share of each stranger in it, and the counts of the addresses that
//! the account is known from. The rules are those of the embedded store: a stranger can lock out
//! other strangers, but not the owner, and a success takes back exactly the stranger's own share.
//! An attempt counts for the account first and for the address second; if the address has reached
//! its limit meanwhile, the account's count is given back.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SharedStore;
use super::database::{RecordKey, RecordKind};
use super::records::Change;
use crate::window::{AttemptWindow, WindowRow};
use crate::{AttemptAdmission, AttemptKind, LoginAttempt, LoginProgress, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

/// How long an account counts as known from an address after a complete login. Each further login
/// begins the time again.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bound on the addresses that an account is known from; the one that was used longest ago goes.
const MOST_KNOWN: usize = 64;
/// Bound on the counts of one account. The limits keep them below it, unless they are set very high;
/// then the count that ends first goes.
const MOST_PLACES: usize = 1024;

/// The origin of an attempt: an address as sixteen bytes, or `None` where many clients share it.
type AttemptPlace = Option<[u8; 16]>;

/// All counts of one account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct AttemptRecord {
    passwords: GuessCounts,
    codes: GuessCounts,
    /// Addresses from which the account has logged in, and until when they count as known.
    known: Vec<([u8; 16], Timestamp)>,
}

/// The failed attempts at one kind of secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct GuessCounts {
    strangers: Option<WindowRow>,
    /// For each place: the count of a known address, or a stranger's share.
    places: Vec<(AttemptPlace, WindowRow)>,
}

/// Whether an attempt was counted.
enum Counted {
    Yes,
    Full(Duration),
}

impl SharedStore {
    /// Reserves an attempt: counts it as failed before its password is checked.
    pub(super) async fn reserve_attempt(
        &self,
        attempt: &LoginAttempt,
        now: Timestamp,
    ) -> Result<AttemptAdmission, StoreError> {
        // A full address is found out first, so that nothing is counted at the account.
        if let Some(flooded) = self.address_is_full(attempt, now).await? {
            let (counts, at) = self.records.read(self.account_key(attempt.account), now).await?;
            let locked = counts.and_then(|mut counts: AttemptRecord| counts.reserve(attempt, at));
            let retry_after = locked.map_or(flooded, |locked| locked.max(flooded));
            return Ok(AttemptAdmission::Limited { retry_after, account: locked.is_some() });
        }
        let account = self.records.update(self.account_key(attempt.account), now, |counts, at| {
            let mut counts: AttemptRecord = counts.unwrap_or_default();
            match counts.reserve(attempt, at) {
                Some(retry_after) => (Some(retry_after), Change::Keep),
                None => (None, counts.change(at)),
            }
        });
        if let Some(retry_after) = account.await? {
            return Ok(AttemptAdmission::Limited { retry_after, account: true });
        }
        match self.count_address(attempt, now).await? {
            Counted::Yes => Ok(AttemptAdmission::Admitted),
            Counted::Full(retry_after) => {
                self.refund_account(attempt, 1, None, now).await?;
                Ok(AttemptAdmission::Limited { retry_after, account: false })
            }
        }
    }

    /// Takes back up to `limit` failures of this account from this place, and one of the address.
    /// After the user's last step the account counts as known from the address.
    pub(super) async fn refund_attempt(
        &self,
        attempt: &LoginAttempt,
        limit: u32,
        progress: Option<LoginProgress>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.refund_account(attempt, limit, progress, now).await?;
        let Some(key) = self.address_key(attempt) else { return Ok(()) };
        let refunded = self.records.update(key, now, |row: Option<WindowRow>, at| {
            match row.map(AttemptWindow::from_row).filter(|window| window.holds(at)) {
                Some(window) => ((), window_change(window.less(1), at)),
                None => ((), Change::Keep),
            }
        });
        refunded.await
    }

    async fn refund_account(
        &self,
        attempt: &LoginAttempt,
        limit: u32,
        progress: Option<LoginProgress>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let refunded = self.records.update(self.account_key(attempt.account), now, |counts, at| {
            let mut counts: AttemptRecord = counts.unwrap_or_default();
            counts.refund(attempt, limit, at);
            // Only a complete login makes an address known. If the password alone did, somebody who
            // stole it could get an owner's count of guesses at codes.
            if progress == Some(LoginProgress::Login) {
                counts.know(attempt.address, at);
            }
            ((), counts.change(at))
        });
        refunded.await
    }

    /// Removes all failures at an account, of passwords and codes. True if there were any that still
    /// counted.
    pub(super) async fn lift_account(
        &self,
        account: Digest,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let lifted = self.records.update(self.account_key(account), now, |counts, at| {
            let Some(mut counts): Option<AttemptRecord> = counts else {
                return (false, Change::Keep);
            };
            let has_any = counts.passwords.has_any(at) || counts.codes.has_any(at);
            counts.passwords = GuessCounts::default();
            counts.codes = GuessCounts::default();
            (has_any, counts.change(at))
        });
        lifted.await
    }

    async fn address_is_full(
        &self,
        attempt: &LoginAttempt,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let Some(key) = self.address_key(attempt) else { return Ok(None) };
        let (row, at): (Option<WindowRow>, _) = self.records.read(key, now).await?;
        let (most, per) = attempt.per_address;
        Ok(AttemptWindow::at(row, per, at).full(most, at))
    }

    async fn count_address(
        &self,
        attempt: &LoginAttempt,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        let Some(key) = self.address_key(attempt) else { return Ok(Counted::Yes) };
        let (most, per) = attempt.per_address;
        let counted = self.records.update(key, now, |row: Option<WindowRow>, at| {
            let window = AttemptWindow::at(row, per, at);
            match window.full(most, at) {
                Some(retry_after) => (Counted::Full(retry_after), Change::Keep),
                None => (Counted::Yes, window_change(window.more(), at)),
            }
        });
        counted.await
    }

    fn account_key(&self, account: Digest) -> RecordKey {
        self.records.key(RecordKind::Attempt, &[b"account", &account.0])
    }

    fn address_key(&self, attempt: &LoginAttempt) -> Option<RecordKey> {
        let address = octets(attempt.address?);
        Some(self.records.key(RecordKind::Attempt, &[b"address", &address]))
    }
}

impl AttemptRecord {
    /// Counts an attempt as failed, or says how long to wait.
    fn reserve(&mut self, attempt: &LoginAttempt, now: Timestamp) -> Option<Duration> {
        let place = attempt.address.map(octets);
        let is_known = self.is_known(place, now);
        let (limit, per) = attempt.per_account;
        let failed = self.failed(attempt.kind);
        let row = if is_known { failed.at(place) } else { failed.strangers };
        let window = AttemptWindow::at(row, per, now);
        if let Some(retry_after) = window.full(limit, now) {
            return Some(retry_after);
        }
        if is_known {
            failed.set(place, window.more());
            return None;
        }
        failed.strangers = Some(window.more().row());
        // The stranger's share is counted in the strangers' window, so that both end together.
        let share = failed.at(place).map(AttemptWindow::from_row);
        let share = share.filter(|share| share.start == window.start);
        failed.set(place, share.unwrap_or(AttemptWindow { count: 0, ..window }).more());
        None
    }

    fn refund(&mut self, attempt: &LoginAttempt, limit: u32, now: Timestamp) {
        let place = attempt.address.map(octets);
        let is_known = self.is_known(place, now);
        let failed = self.failed(attempt.kind);
        let own = failed.at(place).map(AttemptWindow::from_row);
        let Some(own) = own.filter(|own| own.holds(now)) else { return };
        let back = own.count.min(limit);
        failed.set(place, own.less(back));
        // A known address has no share in the strangers' count. Another start means that the
        // strangers' window has ended and a new one began.
        let strangers = failed.strangers.map(AttemptWindow::from_row);
        if let Some(strangers) = strangers.filter(|all| !is_known && all.start == own.start) {
            let left = strangers.less(back);
            failed.strangers = (left.count > 0).then(|| left.row());
        }
    }

    fn know(&mut self, address: Option<IpAddr>, now: Timestamp) {
        let Some(place) = address.map(octets) else { return };
        self.known.retain(|(known, _)| *known != place);
        if self.known.len() >= MOST_KNOWN {
            self.known.remove(0);
        }
        self.known.push((place, now.plus(KNOWN_FOR)));
    }

    fn is_known(&self, place: AttemptPlace, now: Timestamp) -> bool {
        self.known.iter().any(|(known, until)| Some(*known) == place && *until > now)
    }

    fn failed(&mut self, kind: AttemptKind) -> &mut GuessCounts {
        match kind {
            AttemptKind::Password => &mut self.passwords,
            AttemptKind::Code => &mut self.codes,
        }
    }

    /// The change that stores the counts, without those that have ended.
    fn change(mut self, now: Timestamp) -> Change<Self> {
        self.known.retain(|(_, until)| *until > now);
        self.passwords.forget_ended(now);
        self.codes.forget_ended(now);
        let known = self.known.iter().map(|(_, until)| *until);
        let ends = self.passwords.ends().chain(self.codes.ends()).chain(known).max();
        match ends {
            Some(ends) => Change::Write(self, Some(ends.since(now))),
            None => Change::Remove,
        }
    }
}

impl GuessCounts {
    fn at(&self, place: AttemptPlace) -> Option<WindowRow> {
        self.places.iter().find(|(at, _)| *at == place).map(|(_, row)| *row)
    }

    fn set(&mut self, place: AttemptPlace, window: AttemptWindow) {
        self.places.retain(|(at, _)| *at != place);
        if window.count == 0 {
            return;
        }
        if self.places.len() >= MOST_PLACES {
            self.places.remove(0);
        }
        self.places.push((place, window.row()));
    }

    fn has_any(&self, now: Timestamp) -> bool {
        let mut rows = self.strangers.iter().chain(self.places.iter().map(|(_, row)| row));
        rows.any(|row| AttemptWindow::from_row(*row).holds(now))
    }

    fn forget_ended(&mut self, now: Timestamp) {
        let holds = |row: &WindowRow| AttemptWindow::from_row(*row).ends > now;
        self.strangers = self.strangers.filter(holds);
        self.places.retain(|(_, row)| holds(row));
    }

    fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let rows = self.strangers.iter().chain(self.places.iter().map(|(_, row)| row));
        rows.map(|row| AttemptWindow::from_row(*row).ends)
    }
}

fn window_change(window: AttemptWindow, now: Timestamp) -> Change<WindowRow> {
    match window.count {
        0 => Change::Remove,
        _ => Change::Write(window.row(), Some(window.ends.since(now))),
    }
}

/// An address as sixteen bytes. An IPv4 address and the same address mapped into IPv6 (RFC 4291,
/// section 2.5.5.2) are equal. Else a client could double its attempts by using both forms.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
