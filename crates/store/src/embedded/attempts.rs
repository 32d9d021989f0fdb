//! Counts of failed attempts at passwords and codes, by account and by address.
//!
//! An account has one count for all strangers together, and one for each address that it is known
//! from. A stranger (an address without a recent login to this account) can therefore lock out
//! other strangers, but not the owner. Beside the strangers' count, the share of each stranger is
//! kept, so that a success takes back exactly that share.
//!
//! Passwords and codes are counted apart: a client that has the password must not win back guesses
//! at codes by logging in with it.

use std::net::IpAddr;
use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata};

use super::tables::{DigestBytes, ExpiryKind, ShortId, StoreFault, Tables};
use crate::window::{AttemptWindow, WindowRow};
use crate::{AttemptAdmission, AttemptKind, LoginAttempt, LoginProgress};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

/// How long an account counts as known from an address after a complete login. Each further login
/// begins the time again.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bound on the rows of one kind. Passwords cannot be hashed fast enough to reach it in a usual
/// window, so only a very long configured window gets here. Then the row that expires first makes
/// room.
const MOST_ROWS: u64 = 200_000;

/// The key for all strangers at an account together.
const STRANGERS: &[u8] = &[];
/// The key for an attempt whose address is not counted, because many clients share it.
const NOWHERE: &[u8] = &[0];

/// Reserves an attempt: counts it as failed before its password is checked.
pub(super) fn reserve(
    tables: &mut Tables<'_>,
    attempt: &LoginAttempt,
    now: Timestamp,
) -> Result<AttemptAdmission, StoreFault> {
    let account = &counted_by(attempt);
    let place = AttemptPlace::of(attempt.address);
    let known = is_known(tables, attempt, now)?;
    let (limit, per) = attempt.per_account;
    let counted = if known { place.key() } else { STRANGERS };
    let window = AttemptWindow::at(account_row(tables, account, counted)?, per, now);
    let (most_address, per_address) = attempt.per_address;
    let from = match attempt.address {
        Some(address) => {
            let address = octets(address);
            Some((address, AttemptWindow::at(address_row(tables, &address)?, per_address, now)))
        }
        None => None,
    };

    // Both limits are checked before anything is counted. A refused attempt is not counted: the
    // limit is reached already, and nothing needs to be written for it. Both windows are read
    // first, so that a refusal by one leaves the other unchanged.
    let locked = window.full(limit, now);
    let flooded = from.and_then(|(_, window)| window.full(most_address, now));
    if let Some(retry_after) = locked.max(flooded) {
        return Ok(AttemptAdmission::Limited { retry_after, account: locked.is_some() });
    }
    save_account(tables, account, counted, window.more())?;
    // The stranger's share is counted in the strangers' window, so that both end together.
    if !known {
        let share = share(tables, account, &place, window)?.more();
        save_account(tables, account, place.key(), share)?;
    }
    if let Some((address, window)) = from {
        save_address(tables, &address, window.more())?;
    }
    Ok(AttemptAdmission::Admitted)
}

/// Refunds a successful attempt, and takes back the failures of this address at the account by
/// attempts of the same kind. After the user's last step the account counts as known from this
/// address.
pub(super) fn succeeded(
    tables: &mut Tables<'_>,
    attempt: &LoginAttempt,
    progress: LoginProgress,
    now: Timestamp,
) -> Result<(), StoreFault> {
    refund(tables, attempt, u32::MAX, now)?;
    // Only a complete login makes an address known. If the password alone did, somebody who stole
    // it could get an owner's count of guesses at codes.
    if let (Some(address), LoginProgress::Login) = (attempt.address, progress) {
        let account = &attempt.account.0;
        let address = octets(address);
        let until = now.plus(KNOWN_FOR);
        let key = [account.as_slice(), &address].concat();
        make_room(tables, ExpiryKind::Known)?;
        tables.change().known.insert((account, &address), until.millis())?;
        tables.expire(ExpiryKind::Known, until, &key)?;
    }
    Ok(())
}

/// Refunds an attempt that could not be decided, for example because the user source was down.
pub(super) fn undecided(
    tables: &mut Tables<'_>,
    attempt: &LoginAttempt,
    now: Timestamp,
) -> Result<(), StoreFault> {
    refund(tables, attempt, 1, now)
}

/// Removes all failures at an account, of passwords and codes. True if there were any that still
/// counted: a window that has ended and waits for the sweep limits nobody.
pub(super) fn lift(
    tables: &mut Tables<'_>,
    account: Digest,
    now: Timestamp,
) -> Result<bool, StoreFault> {
    // The longest suffix of a key is an address of 16 bytes, so 17 bytes of 255 are after every key
    // of the account.
    let last = [u8::MAX; 17];
    let mut found = false;
    for account in [account.0, codes_of(account)] {
        let range = (&account, STRANGERS)..=(&account, last.as_slice());
        tables.change().accounts.retain_in(range, |_, row| {
            found |= AttemptWindow::from_row(row).holds(now);
            false
        })?;
    }
    Ok(found)
}

/// The key an attempt is counted by: the account, or the codes of the account.
fn counted_by(attempt: &LoginAttempt) -> DigestBytes {
    match attempt.kind {
        AttemptKind::Password => attempt.account.0,
        AttemptKind::Code => codes_of(attempt.account),
    }
}

fn codes_of(account: Digest) -> DigestBytes {
    Digest::of_list(&[b"codes", &account.0]).0
}

/// Takes back up to `limit` failures of this pair of account and address, and one of the address
/// alone. Used for successes and for attempts that could not be decided.
fn refund(
    tables: &mut Tables<'_>,
    attempt: &LoginAttempt,
    limit: u32,
    now: Timestamp,
) -> Result<(), StoreFault> {
    let account = &counted_by(attempt);
    let place = AttemptPlace::of(attempt.address);
    let pair = account_row(tables, account, place.key())?.map(AttemptWindow::from_row);
    if let Some(pair) = pair.filter(|pair| pair.holds(now)) {
        let back = pair.count.min(limit);
        save_account(tables, account, place.key(), pair.less(back))?;
        let strangers = account_row(tables, account, STRANGERS)?.map(AttemptWindow::from_row);
        // A known address has no share in the strangers' count. Taking its failures back there
        // would reduce the failures of others.
        let shared = !is_known(tables, attempt, now)?;
        // Another start means that the strangers' window has ended and a new one began: the pair's
        // failures are not in it.
        if let Some(strangers) = strangers.filter(|all| shared && all.start == pair.start) {
            save_account(tables, account, STRANGERS, strangers.less(back))?;
        }
    }
    if let Some(address) = attempt.address.map(octets) {
        let window = address_row(tables, &address)?.map(AttemptWindow::from_row);
        if let Some(window) = window.filter(|window| window.holds(now)) {
            save_address(tables, &address, window.less(1))?;
        }
    }
    Ok(())
}

/// The share of one stranger in the strangers' `window`; zero if its last share belongs to an
/// earlier window. The share tells how much a later success may take back.
fn share(
    tables: &Tables<'_>,
    account: &DigestBytes,
    place: &AttemptPlace,
    window: AttemptWindow,
) -> Result<AttemptWindow, StoreFault> {
    let share = account_row(tables, account, place.key())?.map(AttemptWindow::from_row);
    Ok(share
        .filter(|share| share.start == window.start)
        .unwrap_or(AttemptWindow { count: 0, ..window }))
}

fn is_known(
    tables: &Tables<'_>,
    attempt: &LoginAttempt,
    now: Timestamp,
) -> Result<bool, StoreFault> {
    let Some(address) = attempt.address.map(octets) else { return Ok(false) };
    let until = tables.rows().known.get((&attempt.account.0, &address))?;
    Ok(until.is_some_and(|until| until.value() > now.millis()))
}

fn account_row(
    tables: &Tables<'_>,
    account: &DigestBytes,
    place: &[u8],
) -> Result<Option<WindowRow>, StoreFault> {
    Ok(tables.rows().accounts.get((account, place))?.map(|row| row.value()))
}

fn address_row(tables: &Tables<'_>, address: &ShortId) -> Result<Option<WindowRow>, StoreFault> {
    Ok(tables.rows().addresses.get(address)?.map(|row| row.value()))
}

fn save_account(
    tables: &mut Tables<'_>,
    account: &DigestBytes,
    place: &[u8],
    window: AttemptWindow,
) -> Result<(), StoreFault> {
    if window.count == 0 {
        tables.change().accounts.remove((account, place))?;
        return Ok(());
    }
    make_room(tables, ExpiryKind::Account)?;
    tables.change().accounts.insert((account, place), window.row())?;
    tables.expire(ExpiryKind::Account, window.ends, &[account.as_slice(), place].concat())
}

fn save_address(
    tables: &mut Tables<'_>,
    address: &ShortId,
    window: AttemptWindow,
) -> Result<(), StoreFault> {
    if window.count == 0 {
        tables.change().addresses.remove(address)?;
        return Ok(());
    }
    make_room(tables, ExpiryKind::Address)?;
    tables.change().addresses.insert(address, window.row())?;
    tables.expire(ExpiryKind::Address, window.ends, address)
}

/// Makes room in a full table by removing the row that would expire next.
fn make_room(tables: &mut Tables<'_>, kind: ExpiryKind) -> Result<(), StoreFault> {
    let rows = tables.rows();
    let row_count = match kind {
        ExpiryKind::Account => rows.accounts.len()?,
        ExpiryKind::Address => rows.addresses.len()?,
        _ => rows.known.len()?,
    };
    if row_count < MOST_ROWS {
        return Ok(());
    }
    super::sweep::forget_first(tables, kind)
}

/// The part of an account's key that names the origin of an attempt.
enum AttemptPlace {
    Address(ShortId),
    Nowhere,
}

impl AttemptPlace {
    fn of(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Nowhere, |address| Self::Address(octets(address)))
    }

    fn key(&self) -> &[u8] {
        match self {
            Self::Address(octets) => octets,
            Self::Nowhere => NOWHERE,
        }
    }
}

/// An address as sixteen bytes. An IPv4 address and the same address mapped into IPv6 (RFC 4291,
/// section 2.5.5.2) are equal. Else a client could double its attempts by using both forms.
fn octets(address: IpAddr) -> ShortId {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
