//! Failed attempts at passwords and at codes, by account and by address.
//!
//! An account has one count for all strangers, and one for each address it is known from: a
//! stranger can lock out strangers, not the owner. Beside the strangers' count each stranger's
//! own share of it is kept, so that a success takes back exactly that. Passwords and codes are
//! counted apart: whoever has the password must not pay for guesses at codes with it.

use std::net::IpAddr;
use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata};

use super::tables::{Fault, Hash, Id, Kind, Tables, WindowRow};
use super::window::Window;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::session::{Admission, Attempt, AttemptKind, LoginProgress};

/// How long an account is known from an address after a success.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Rows of one kind. Far more than passwords can be hashed in a window, so only a misconfigured
/// window gets here; then what would be forgotten soonest makes room.
const MOST_ROWS: u64 = 200_000;

/// All strangers at an account together.
const STRANGERS: &[u8] = &[];
/// The place of an attempt whose address is not counted, since many share it.
const NOWHERE: &[u8] = &[0];

/// Counts an attempt as failed before anyone looks at its password.
pub(super) fn reserve(
    t: &mut Tables<'_>,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<Admission, Fault> {
    let (account, place) = (&counted_by(attempt), Place::of(attempt.address));
    let known = is_known(t, attempt, now)?;
    let (most, per) = attempt.per_account;
    let counted = if known { place.key() } else { STRANGERS };
    let window = Window::at(account_row(t, account, counted)?, per, now);
    let (most_address, per_address) = attempt.per_address;
    let from = match attempt.address {
        Some(address) => {
            let address = octets(address);
            Some((address, Window::at(address_row(t, &address)?, per_address, now)))
        }
        None => None,
    };

    let locked = window.full(most, now);
    let flooded = from.and_then(|(_, window)| window.full(most_address, now));
    if let Some(retry_after) = locked.max(flooded) {
        return Ok(Admission::Limited { retry_after, account: locked.is_some() });
    }
    save_account(t, account, counted, window.more())?;
    if !known {
        let share = share(t, account, &place, window)?.more();
        save_account(t, account, place.key(), share)?;
    }
    if let Some((address, window)) = from {
        save_address(t, &address, window.more())?;
    }
    Ok(Admission::Admitted)
}

/// Refunds a successful attempt and clears what this address failed at the account by attempts of
/// its kind; after the user's last step the account is known from there.
pub(super) fn succeeded(
    t: &mut Tables<'_>,
    attempt: &Attempt,
    progress: LoginProgress,
    now: Timestamp,
) -> Result<(), Fault> {
    refund(t, attempt, u32::MAX, now)?;
    if let (Some(address), LoginProgress::Login) = (attempt.address, progress) {
        let (account, address) = (&attempt.account.0, octets(address));
        let until = now.plus(KNOWN_FOR);
        let key = [account.as_slice(), &address].concat();
        make_room(t, Kind::Known)?;
        t.change().known.insert((account, &address), until.millis())?;
        t.expire(Kind::Known, until, &key)?;
    }
    Ok(())
}

/// Refunds an attempt that nobody could decide.
pub(super) fn undecided(
    t: &mut Tables<'_>,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<(), Fault> {
    refund(t, attempt, 1, now)
}

/// Forgets all failures at an account; answers whether there were any.
pub(super) fn lift(t: &mut Tables<'_>, account: Digest) -> Result<bool, Fault> {
    let last = [u8::MAX; 17];
    let mut found = false;
    for account in [account.0, codes_of(account)] {
        let range = (&account, STRANGERS)..=(&account, last.as_slice());
        t.change().accounts.retain_in(range, |_, _| {
            found = true;
            false
        })?;
    }
    Ok(found)
}

/// What an attempt is counted by: the account, or its codes.
fn counted_by(attempt: &Attempt) -> Hash {
    match attempt.kind {
        AttemptKind::Password => attempt.account.0,
        AttemptKind::Code => codes_of(attempt.account),
    }
}

fn codes_of(account: Digest) -> Hash {
    Digest::of_list(&[b"codes", &account.0]).0
}

/// Takes back up to `most` of the failures of this pair, and one of the address.
fn refund(t: &mut Tables<'_>, attempt: &Attempt, most: u32, now: Timestamp) -> Result<(), Fault> {
    let (account, place) = (&counted_by(attempt), Place::of(attempt.address));
    let pair = account_row(t, account, place.key())?.map(Window::from_row);
    if let Some(pair) = pair.filter(|pair| pair.holds(now)) {
        let back = pair.count.min(most);
        save_account(t, account, place.key(), pair.less(back))?;
        let strangers = account_row(t, account, STRANGERS)?.map(Window::from_row);
        // A known address has no share in the strangers' count, whatever that is.
        let shared = !is_known(t, attempt, now)?;
        if let Some(strangers) = strangers.filter(|all| shared && all.start == pair.start) {
            save_account(t, account, STRANGERS, strangers.less(back))?;
        }
    }
    if let Some(address) = attempt.address.map(octets) {
        let window = address_row(t, &address)?.map(Window::from_row);
        if let Some(window) = window.filter(|window| window.holds(now)) {
            save_address(t, &address, window.less(1))?;
        }
    }
    Ok(())
}

/// A stranger's share of the strangers' `window`.
fn share(t: &Tables<'_>, account: &Hash, place: &Place, window: Window) -> Result<Window, Fault> {
    let share = account_row(t, account, place.key())?.map(Window::from_row);
    Ok(share.filter(|share| share.start == window.start).unwrap_or(Window { count: 0, ..window }))
}

fn is_known(t: &Tables<'_>, attempt: &Attempt, now: Timestamp) -> Result<bool, Fault> {
    let Some(address) = attempt.address.map(octets) else { return Ok(false) };
    let until = t.rows().known.get((&attempt.account.0, &address))?;
    Ok(until.is_some_and(|until| until.value() > now.millis()))
}

fn account_row(t: &Tables<'_>, account: &Hash, place: &[u8]) -> Result<Option<WindowRow>, Fault> {
    Ok(t.rows().accounts.get((account, place))?.map(|row| row.value()))
}

fn address_row(t: &Tables<'_>, address: &Id) -> Result<Option<WindowRow>, Fault> {
    Ok(t.rows().addresses.get(address)?.map(|row| row.value()))
}

fn save_account(
    t: &mut Tables<'_>,
    account: &Hash,
    place: &[u8],
    window: Window,
) -> Result<(), Fault> {
    if window.count == 0 {
        t.change().accounts.remove((account, place))?;
        return Ok(());
    }
    make_room(t, Kind::Account)?;
    t.change().accounts.insert((account, place), window.row())?;
    t.expire(Kind::Account, window.ends, &[account.as_slice(), place].concat())
}

fn save_address(t: &mut Tables<'_>, address: &Id, window: Window) -> Result<(), Fault> {
    if window.count == 0 {
        t.change().addresses.remove(address)?;
        return Ok(());
    }
    make_room(t, Kind::Address)?;
    t.change().addresses.insert(address, window.row())?;
    t.expire(Kind::Address, window.ends, address)
}

/// Where a full table has no place left, forgets what would be forgotten next.
fn make_room(t: &mut Tables<'_>, kind: Kind) -> Result<(), Fault> {
    let rows = t.rows();
    let held = match kind {
        Kind::Account => rows.accounts.len()?,
        Kind::Address => rows.addresses.len()?,
        _ => rows.known.len()?,
    };
    if held < MOST_ROWS {
        return Ok(());
    }
    super::sweep::forget_first(t, kind)
}

/// The part of an account's key that says where the attempt came from.
enum Place {
    Address(Id),
    Nowhere,
}

impl Place {
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

/// An address as sixteen bytes, the same for IPv4 and IPv4 mapped into IPv6.
fn octets(address: IpAddr) -> Id {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
