use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use url::Host;

use crate::address::{embedded, has_prefix};

/// One entry of `outbound.allow`, `outbound.deny` or `outbound.private`: a name, the names below one, an address or a range of
/// addresses, each with or without a port. Displayed as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// `*`
    Everything,
    /// `example.com`
    Name(String),
    /// `*.example.com`, kept as `.example.com`: names that end so, not `example.com` itself.
    NamesBelow(String),
    /// `10.0.0.0/8`, or one address as a range of its own.
    Addresses(AddressRange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AddressRange {
    start: IpAddr,
    /// How many bits at the start count.
    length: u8,
}

/// Why a text is no [`Rule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is a URL, or has a path.
    #[error("a rule names a host, without a scheme and without a path")]
    Url,
    /// The part after the last colon is no port.
    #[error("{0:?} is no port: 1 to 65535")]
    Port(String),
    /// The part after the slash is no prefix length of such an address.
    #[error("a range of addresses ends with the number of bits that count: 0 to {most}")]
    RangeLength {
        /// 32 or 128.
        most: u8,
    },
    /// The bits after the prefix are not zero: one of the two is not what was meant.
    #[error("the range has bits behind its first {length}: it starts at {start}/{length}")]
    RangeStart {
        /// The address with those bits cleared.
        start: IpAddr,
        /// The length that was given.
        length: u8,
    },
    /// `*` stands anywhere but alone or in front of a dot.
    #[error("`*` stands for everything, or in front of a name: `*.example.com`")]
    Star,
    /// It is not a host name.
    #[error("{0:?} is neither a host name nor an address")]
    Host(String),
}

impl Rule {
    /// Reads `example.com`, `*.example.com`, `*`, `10.0.0.1`, `10.0.0.0/8`, `fc00::/7`, `[::1]`, each but the bare IPv6 ones with
    /// `:port` behind it. Names are normalised as those in URLs are.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let rule = |target, port| Ok(Self { text: text.to_owned(), target, port });
        if let Some(range) = bare_ipv6(text)? {
            return rule(Target::Addresses(range), None);
        }
        if text.contains("://") {
            return Err(RuleError::Url);
        }
        let (host, port) = split_port(text)?;
        if host == "*" {
            return rule(Target::Everything, port);
        }
        if let Some(below) = host.strip_prefix("*.") {
            return match parsed_host(below)? {
                Host::Domain(name) => rule(Target::NamesBelow(format!(".{name}")), port),
                Host::Ipv4(_) | Host::Ipv6(_) => Err(RuleError::Star),
            };
        }
        if host.contains('*') {
            return Err(RuleError::Star);
        }
        if let Some((start, length)) = host.split_once('/') {
            let start = start.strip_prefix('[').and_then(|start| start.strip_suffix(']')).unwrap_or(start);
            let Ok(start) = start.parse() else { return Err(RuleError::Url) };
            return rule(Target::Addresses(AddressRange::parse(start, length)?), port);
        }
        match parsed_host(host)? {
            Host::Domain(name) => rule(Target::Name(name), port),
            Host::Ipv4(address) => rule(Target::Addresses(AddressRange::one(IpAddr::V4(address))), port),
            Host::Ipv6(address) => rule(Target::Addresses(AddressRange::one(IpAddr::V6(address))), port),
        }
    }

    /// Whether it is about addresses: names are then only decided when they are resolved.
    pub fn is_about_addresses(&self) -> bool {
        matches!(self.target, Target::Addresses(_))
    }

    /// The one port it is about.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is about a name, which is in lower case and has no dot at its end.
    pub(crate) fn matches_name(&self, name: &str, port: u16) -> bool {
        self.matches_port(port)
            && match &self.target {
                Target::Everything => true,
                Target::Name(own) => own == name,
                Target::NamesBelow(suffix) => name.ends_with(suffix.as_str()),
                Target::Addresses(_) => false,
            }
    }

    /// Whether it is about an address as it is written, or about the IPv4 address that an IPv4-mapped one is.
    pub(crate) fn matches_address(&self, address: IpAddr, port: u16) -> bool {
        self.matches_port(port)
            && match &self.target {
                Target::Everything => true,
                Target::Addresses(range) => range.contains(address) || range.contains(address.to_canonical()),
                Target::Name(_) | Target::NamesBelow(_) => false,
            }
    }

    /// The same, or about an IPv4 address that packets to it may end at.
    pub(crate) fn reaches_address(&self, address: IpAddr, port: u16) -> bool {
        let carried = match address {
            IpAddr::V4(_) => [None, None],
            IpAddr::V6(address) => embedded(address),
        };
        self.matches_address(address, port)
            || carried.into_iter().flatten().any(|carried| self.matches_address(IpAddr::V4(carried), port))
    }

    fn matches_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl AddressRange {
    fn one(start: IpAddr) -> Self {
        Self { start, length: bits_of(start) }
    }

    fn parse(start: IpAddr, length: &str) -> Result<Self, RuleError> {
        let most = bits_of(start);
        let length: u8 = length.parse().ok().filter(|length| *length <= most).ok_or(RuleError::RangeLength { most })?;
        let (bits, whole) = (left_aligned(start), 128 - u32::from(length));
        let cleared = if whole == 128 { 0 } else { bits >> whole << whole };
        if cleared != bits {
            let start = match start {
                IpAddr::V4(_) => IpAddr::V4(((cleared >> 96) as u32).into()),
                IpAddr::V6(_) => IpAddr::V6(cleared.into()),
            };
            return Err(RuleError::RangeStart { start, length });
        }
        Ok(Self { start, length })
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.start.is_ipv4() == address.is_ipv4()
            && has_prefix(left_aligned(address), left_aligned(self.start), self.length)
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// `::1` and `fc00::/7`: their colons are no ports.
fn bare_ipv6(text: &str) -> Result<Option<AddressRange>, RuleError> {
    let (start, length) = text.split_once('/').map_or((text, None), |(start, length)| (start, Some(length)));
    match (start.parse::<Ipv6Addr>(), length) {
        (Ok(start), None) => Ok(Some(AddressRange::one(IpAddr::V6(start)))),
        (Ok(start), Some(length)) => AddressRange::parse(IpAddr::V6(start), length).map(Some),
        (Err(_), _) => Ok(None),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), RuleError> {
    let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return Ok((text, None));
    };
    let number = port.parse().ok().filter(|number| *number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(|number| (host, Some(number))).ok_or_else(|| RuleError::Port(port.to_owned()))
}

fn parsed_host(text: &str) -> Result<Host, RuleError> {
    if text.contains(['/', '@', '?', '#']) {
        return Err(RuleError::Url);
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) => {
            let name = without_last_dot(&name);
            if name.is_empty() { Err(RuleError::Host(text.to_owned())) } else { Ok(Host::Domain(name.to_owned())) }
        }
        Ok(host) => Ok(host),
        Err(_) => Err(RuleError::Host(text.to_owned())),
    }
}

/// `example.com.` is the same host as `example.com`.
pub(crate) fn without_last_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
    }

    #[test]
    fn a_name_matches_itself_and_a_star_what_is_below() {
        assert!(rule("Example.COM").matches_name("example.com", 443));
        assert!(rule("example.com.").matches_name("example.com", 443));
        assert!(!rule("example.com").matches_name("www.example.com", 443));
        assert!(rule("*.example.com").matches_name("a.b.example.com", 443));
        assert!(!rule("*.example.com").matches_name("example.com", 443));
        assert!(!rule("*.example.com").matches_name("notexample.com", 443));
        assert!(rule("*").matches_name("anything", 1) && rule("*").matches_address(address("::1"), 1));
        assert!(rule("bücher.example").matches_name("xn--bcher-kva.example", 443));
    }

    #[test]
    fn a_port_narrows_a_rule() {
        assert!(rule("example.com:8080").matches_name("example.com", 8080));
        assert!(!rule("example.com:8080").matches_name("example.com", 443));
        assert!(rule("*:25").matches_name("mail.example", 25) && !rule("*:25").matches_name("mail.example", 26));
        assert!(rule("[::1]:80").matches_address(address("::1"), 80));
        assert!(!rule("10.0.0.0/8:5432").matches_address(address("10.1.2.3"), 80));
    }

    #[test]
    fn a_range_matches_its_addresses_and_their_mapped_form() {
        let range = rule("10.0.0.0/8");
        assert!(
            range.matches_address(address("10.255.0.1"), 1) && range.matches_address(address("::ffff:10.0.0.1"), 1)
        );
        assert!(!range.matches_address(address("11.0.0.1"), 1) && !range.matches_address(address("a00::"), 1));
        assert!(!range.matches_address(address("64:ff9b::10.0.0.1"), 1));
        assert!(range.reaches_address(address("64:ff9b::10.0.0.1"), 1));
        assert!(range.reaches_address(address("2002:a00:1::"), 1));
        assert!(rule("0.0.0.0/0").matches_address(address("8.8.8.8"), 1));
        assert!(
            rule("::/0").matches_address(address("2606::1"), 1) && !rule("::/0").matches_address(address("8.8.8.8"), 1)
        );
        assert!(rule("fc00::/7").matches_address(address("fd12::1"), 1));
    }

    #[test]
    fn an_address_in_another_spelling_is_the_same_rule() {
        for spelling in ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "127.0.0.1."] {
            assert!(rule(spelling).matches_address(address("127.0.0.1"), 80), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("https://example.com", "a rule names a host, without a scheme and without a path"),
            ("example.com/path", "a rule names a host, without a scheme and without a path"),
            ("user@example.com", "a rule names a host, without a scheme and without a path"),
            ("example.com:http", "\"http\" is no port: 1 to 65535"),
            ("example.com:0", "\"0\" is no port: 1 to 65535"),
            ("example.com:65536", "\"65536\" is no port: 1 to 65535"),
            ("10.0.0.0/33", "a range of addresses ends with the number of bits that count: 0 to 32"),
            ("fc00::/129", "a range of addresses ends with the number of bits that count: 0 to 128"),
            ("10.0.0.1/8", "the range has bits behind its first 8: it starts at 10.0.0.0/8"),
            ("fc00::1/7", "the range has bits behind its first 7: it starts at fc00::/7"),
            ("exa*mple.com", "`*` stands for everything, or in front of a name: `*.example.com`"),
            ("*.10.0.0.1", "`*` stands for everything, or in front of a name: `*.example.com`"),
            ("", "\"\" is neither a host name nor an address"),
            ("exa mple", "\"exa mple\" is neither a host name nor an address"),
            ("fe80::1%eth0", "\"1%eth0\" is no port: 1 to 65535"),
            ("256.256.256.256", "\"256.256.256.256\" is neither a host name nor an address"),
        ] {
            assert_eq!(Rule::parse(text).map_err(|error| error.to_string()), Err(why.to_owned()), "{text}");
        }
    }
}
