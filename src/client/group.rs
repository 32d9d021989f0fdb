//! The groups in which a client address is counted by limits.
//!
//! A subscriber has an IPv4 address, or at least an IPv6 /64. A customer of a network commonly gets
//! a /56 or a /48 (RFC 6177, section 2), which contain 256 and 65 536 of those. Limits by address
//! therefore count an IPv6 address three times: in its /64, and with larger limits in its /56 and
//! its /48. A site can thus do more than one subscriber, but not everything. `admission` and
//! `throttle` use these groups.

use std::net::{IpAddr, Ipv6Addr};

/// The wider IPv6 prefixes, each with the factor by which its limit is larger than that of a /64.
const WIDER: [(u8, usize); 2] = [(56, 2), (48, 4)];
const SUBSCRIBER: u8 = 64;
const WHOLE: u8 = 128;

/// Addresses that are counted together. Invariant: groups of different size are never equal, even
/// if their first address is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressGroup {
    address: IpAddr,
    bits: u8,
    times: usize,
}

impl AddressGroup {
    /// The groups that `address` is counted in, the narrowest first.
    pub fn all_of(address: IpAddr) -> impl Iterator<Item = Self> {
        let narrowest = address_group(address);
        let bits = if narrowest.is_ipv6() { SUBSCRIBER } else { WHOLE };
        let wider = WIDER.into_iter().filter_map(move |(bits, times)| match narrowest {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(Self { address: IpAddr::V6(masked(v6, bits)), bits, times }),
        });
        std::iter::once(Self { address: narrowest, bits, times: 1 }).chain(wider)
    }

    /// The limit of this group, if one subscriber may have `limit`.
    pub fn allowance(self, limit: usize) -> usize {
        limit.saturating_mul(self.times)
    }
}

/// The narrowest group of an address: an IPv4 address itself, an IPv6 address by its /64. An IPv4
/// address mapped into IPv6 counts as IPv4, so a client gains nothing by the form of its address.
pub fn address_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(masked(v6, SUBSCRIBER)),
    }
}

fn masked(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    // The shift drops the bits of the host part; shifting back fills them with zeros.
    let dropped = u32::from(WHOLE.saturating_sub(bits));
    Ipv6Addr::from_bits(address.to_bits() >> dropped << dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_in_all_its_groups() {
        let groups = |address: &str| -> Vec<(String, u8, usize)> {
            AddressGroup::all_of(address.parse().unwrap())
                .map(|group| (group.address.to_string(), group.bits, group.allowance(10)))
                .collect()
        };

        assert_eq!(groups("192.0.2.7"), [("192.0.2.7".to_owned(), 128, 10)]);
        assert_eq!(groups("::ffff:192.0.2.7"), groups("192.0.2.7"), "the same peer");
        assert_eq!(
            groups("2001:db8:1:abcd:1:2:3:4"),
            [
                ("2001:db8:1:abcd::".to_owned(), 64, 10),
                ("2001:db8:1:ab00::".to_owned(), 56, 20),
                ("2001:db8:1::".to_owned(), 48, 40),
            ]
        );
    }

    #[test]
    fn groups_of_one_first_address_differ_by_their_size() {
        let all: Vec<_> = AddressGroup::all_of("2001:db8::1".parse().unwrap()).collect();

        assert!(all.iter().all(|group| group.address == all[0].address));
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
