use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is that is not an address of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// This machine.
    Loopback,
    /// `0.0.0.0/8` and `::`, which systems take for this machine.
    Unspecified,
    /// This network segment, where clouds keep the metadata of a machine, credentials included.
    LinkLocal,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// The network between a carrier and its customers (RFC 6598).
    SharedByCarrier,
    /// Many receivers at once.
    Multicast,
    /// Set aside for protocols, tests and the future; also the host that Azure's machines take their orders from.
    Reserved,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Loopback => "loopback",
            Self::Unspecified => "unspecified",
            Self::LinkLocal => "link-local",
            Self::Private => "private",
            Self::SharedByCarrier => "carrier-grade NAT",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        })
    }
}

/// Ranges by IANA's registries of special-purpose addresses (RFC 6890 and its updates), and what clouds add to them. The first
/// that holds an address counts. Ranges for documentation are left out: nobody is there.
const IPV4: &[([u8; 4], u8, AddressKind)] = &[
    ([0, 0, 0, 0], 8, AddressKind::Unspecified),
    ([10, 0, 0, 0], 8, AddressKind::Private),
    ([100, 64, 0, 0], 10, AddressKind::SharedByCarrier),
    ([127, 0, 0, 0], 8, AddressKind::Loopback),
    ([168, 63, 129, 16], 32, AddressKind::Reserved),
    ([169, 254, 0, 0], 16, AddressKind::LinkLocal),
    ([172, 16, 0, 0], 12, AddressKind::Private),
    ([192, 0, 0, 0], 24, AddressKind::Reserved),
    ([192, 168, 0, 0], 16, AddressKind::Private),
    ([198, 18, 0, 0], 15, AddressKind::Reserved),
    ([224, 0, 0, 0], 4, AddressKind::Multicast),
    ([240, 0, 0, 0], 4, AddressKind::Reserved),
];

const IPV6: &[([u16; 8], u8, AddressKind)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, AddressKind::Unspecified),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, AddressKind::Loopback),
    // NAT64 within one network (RFC 8215): what it embeds is that network's own business.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, AddressKind::Private),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, AddressKind::Reserved),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, AddressKind::Private),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, AddressKind::LinkLocal),
    // Site-local: deprecated by RFC 3879, and still routed by some.
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, AddressKind::Private),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, AddressKind::Multicast),
];

/// What `address` is, or an IPv4 address that it carries within it; `None` for one of the public internet.
pub fn address_kind(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(address) => {
            let found = IPV4.iter().find(|(start, length, _)| {
                has_prefix(u128::from(address.to_bits()) << 96, u128::from(u32::from_be_bytes(*start)) << 96, *length)
            });
            found.map(|(_, _, kind)| *kind)
        }
        IpAddr::V6(address) => {
            let found = IPV6
                .iter()
                .find(|(start, length, _)| has_prefix(address.to_bits(), Ipv6Addr::from(*start).to_bits(), *length));
            found.map(|(_, _, kind)| *kind).or_else(|| {
                embedded(address).into_iter().flatten().find_map(|embedded| address_kind(IpAddr::V4(embedded)))
            })
        }
    }
}

/// The IPv4 addresses that packets to an IPv6 address may end at: mapped, compatible and translated ones (RFC 4291, RFC 7915),
/// NAT64 (RFC 6052), 6to4 (RFC 3056), and both ends of Teredo (RFC 4380).
pub(crate) fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let s = address.segments();
    let pair = |high: u16, low: u16| Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => [pair(high, low), None],
        [0x2001, 0, server_high, server_low, _, _, high, low] => [pair(server_high, server_low), pair(!high, !low)],
        _ => [None, None],
    }
}

/// Whether the first `length` bits of both are the same.
pub(crate) fn has_prefix(bits: u128, start: u128, length: u8) -> bool {
    length == 0 || (bits ^ start) >> (128 - u32::from(length)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<AddressKind> {
        address_kind(text.parse().unwrap_or_else(|_| panic!("{text} is an address")))
    }

    #[test]
    fn addresses_of_machines_and_networks_of_ones_own_are_known() {
        for (text, expected) in [
            ("127.0.0.1", AddressKind::Loopback),
            ("127.255.255.254", AddressKind::Loopback),
            ("0.0.0.0", AddressKind::Unspecified),
            ("0.1.2.3", AddressKind::Unspecified),
            ("10.0.0.1", AddressKind::Private),
            ("172.16.0.1", AddressKind::Private),
            ("172.31.255.255", AddressKind::Private),
            ("192.168.1.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::SharedByCarrier),
            ("100.100.100.200", AddressKind::SharedByCarrier),
            ("169.254.169.254", AddressKind::LinkLocal),
            ("168.63.129.16", AddressKind::Reserved),
            ("192.0.0.192", AddressKind::Reserved),
            ("198.19.0.1", AddressKind::Reserved),
            ("224.0.0.1", AddressKind::Multicast),
            ("239.255.255.255", AddressKind::Multicast),
            ("255.255.255.255", AddressKind::Reserved),
            ("::", AddressKind::Unspecified),
            ("::1", AddressKind::Loopback),
            ("fe80::1", AddressKind::LinkLocal),
            ("fd00:ec2::254", AddressKind::Private),
            ("fc00::1", AddressKind::Private),
            ("fec0::1", AddressKind::Private),
            ("ff02::1", AddressKind::Multicast),
            ("100::1", AddressKind::Reserved),
        ] {
            assert_eq!(kind(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_within_an_ipv6_address_counts_as_itself() {
        for (text, expected) in [
            ("::ffff:127.0.0.1", AddressKind::Loopback),
            ("::ffff:a9fe:a9fe", AddressKind::LinkLocal),
            ("::127.0.0.1", AddressKind::Loopback),
            ("::ffff:0:10.0.0.1", AddressKind::Private),
            ("64:ff9b::169.254.169.254", AddressKind::LinkLocal),
            ("64:ff9b:1::8.8.8.8", AddressKind::Private),
            ("2002:7f00:1::", AddressKind::Loopback),
            ("2002:a9fe:a9fe::1", AddressKind::LinkLocal),
            // Teredo: the client's address is stored with all bits turned.
            ("2001:0:808:808::80ff:fffe", AddressKind::Loopback),
            ("2001:0:7f00:1::f7f7:f7f7", AddressKind::Loopback),
        ] {
            assert_eq!(kind(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_public_internet_are_none_of_these() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "203.0.113.1",
            "2606:4700:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:db8::1",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn every_address_of_loopback_is_loopback_however_it_is_wrapped() {
        // A walk over the range with a step that has no common divisor with it.
        let mut bits: u32 = 0x7f00_0000;
        while bits < 0x8000_0000 {
            let address = Ipv4Addr::from_bits(bits);
            assert_eq!(address_kind(IpAddr::V4(address)), Some(AddressKind::Loopback), "{address}");
            let mapped = address.to_ipv6_mapped();
            assert_eq!(address_kind(IpAddr::V6(mapped)), Some(AddressKind::Loopback), "{mapped}");
            bits += 65_537;
        }
    }
}
