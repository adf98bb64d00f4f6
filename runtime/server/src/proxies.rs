//! What a proxy says about the client that it speaks for, and whether it is believed.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use aerostack_http1::{Refusal, is_authority};
use http::{HeaderMap, HeaderName, StatusCode, header};
use ipnet::IpNet;

use crate::location::Scheme;

/// The proxies that are believed (`[server] trusted_proxies`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// None: the config names none, not even an empty list.
    listed: Option<Vec<IpNet>>,
}

/// What the trusted proxies in front of a request say about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    /// The address that the outermost of them was asked from.
    pub(crate) client: Option<IpAddr>,
    /// How it was asked.
    pub(crate) scheme: Option<Scheme>,
    /// The host that it was asked for: a valid authority.
    pub(crate) host: Option<Cow<'a, str>>,
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl TrustedProxies {
    /// Believes these, and nobody else.
    pub fn listed(proxies: Vec<IpNet>) -> Self {
        Self { listed: Some(proxies) }
    }

    /// Whether what a peer says of its client with the standard headers counts.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listed.iter().flatten().any(|proxies| proxies.contains(&peer))
    }

    /// Whether a peer may say its client's address in `CF-Connecting-IP`: as long as none is listed, whatever runs on this machine.
    pub(crate) fn may_name_the_client(&self, peer: IpAddr) -> bool {
        self.trusts(peer) || (self.listed.is_none() && peer.to_canonical().is_loopback())
    }

    /// Reads what a trusted peer has sent. The peer has written the last entry of each header. Where that entry names another trusted
    /// proxy, the entry before it is that proxy's, and so on; the one that counts is the outermost trusted proxy's. Whatever stands
    /// before it is the client's, who may say anything.
    ///
    /// `Forwarded` counts where there is no `X-Forwarded-*`: most proxies write only the latter, and pass the former on as their client
    /// sent it.
    pub(crate) fn read<'a>(&self, headers: &'a HeaderMap) -> Result<Forwarded<'a>, Refusal> {
        let fors = entries_from_the_last(headers, &FORWARDED_FOR)?;
        let protos = entries_from_the_last(headers, &FORWARDED_PROTO)?;
        let hosts = entries_from_the_last(headers, &FORWARDED_HOST)?;
        if fors.is_empty() && protos.is_empty() && hosts.is_empty() {
            return self.read_standard(headers);
        }
        let (client, passed) = self.client(fors.iter().map(|entry| node(entry)));
        // A proxy that writes a header anew leaves one entry, whatever stood there.
        let seen = |entries: &[&'a str]| entries.get(passed.min(entries.len().saturating_sub(1))).copied();
        Ok(Forwarded {
            client,
            scheme: seen(&protos).map(scheme).transpose()?,
            host: seen(&hosts).map(|host| authority(Cow::Borrowed(host))).transpose()?,
        })
    }

    /// Reads `Forwarded` (RFC 7239).
    fn read_standard<'a>(&self, headers: &'a HeaderMap) -> Result<Forwarded<'a>, Refusal> {
        let mut elements = Vec::new();
        for line in headers.get_all(header::FORWARDED) {
            let mut rest = line.to_str().map_err(|_| INVALID)?;
            while let Some((element, after)) = Element::parse(rest)? {
                elements.push(element);
                rest = after;
            }
        }
        elements.reverse();
        let (client, passed) = self.client(elements.iter().map(|element| element.client.as_deref().and_then(node)));
        let Some(element) = elements.into_iter().nth(passed) else { return Ok(Forwarded::default()) };
        Ok(Forwarded {
            client,
            scheme: element.proto.as_deref().map(scheme).transpose()?,
            host: element.host.map(authority).transpose()?,
        })
    }

    /// The client among those that each proxy was asked from, beginning with the last proxy's, and how many proxies stand behind it.
    /// An entry that is no address hides whoever it stands for.
    fn client(&self, nodes: impl Iterator<Item = Option<IpAddr>>) -> (Option<IpAddr>, usize) {
        let (mut client, mut passed) = (None, 0);
        for (place, node) in nodes.enumerate() {
            let Some(node) = node else { return (client, place) };
            (client, passed) = (Some(node), place);
            if !self.trusts(node) {
                break;
            }
        }
        (client, passed)
    }
}

const INVALID: Refusal = Refusal { status: StatusCode::BAD_REQUEST, text: "invalid Forwarded or X-Forwarded header" };

/// The entries of a list that may stand in several lines, the last one first.
fn entries_from_the_last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Refusal> {
    let mut entries = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| INVALID)?;
        entries.extend(line.split(',').map(str::trim).filter(|entry| !entry.is_empty()));
    }
    entries.reverse();
    Ok(entries)
}

/// The address of a node: `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, each but the second with or without a port. None is `unknown`,
/// a made-up name, or no node.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare().parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    // The port of RFC 7239 may be made up, too.
    let without_port = || text.rsplit_once(":_").and_then(|(node, _)| node.trim_matches(['[', ']']).parse().ok());
    address.ok().or_else(without_port).map(|address: IpAddr| address.to_canonical())
}

fn scheme(text: &str) -> Result<Scheme, Refusal> {
    match text {
        _ if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => Ok(Scheme::Https),
        _ if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => Ok(Scheme::Http),
        _ => Err(INVALID),
    }
}

fn authority(text: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    if is_authority(&text) { Ok(text) } else { Err(INVALID) }
}

/// What one proxy says in `Forwarded`.
#[derive(Default)]
struct Element<'a> {
    client: Option<Cow<'a, str>>,
    proto: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
}

impl<'a> Element<'a> {
    /// Takes the first element off a line, up to the comma behind it. None is the end of the line.
    fn parse(line: &'a str) -> Result<Option<(Self, &'a str)>, Refusal> {
        let mut rest = line.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(None);
        }
        let mut element = Self::default();
        loop {
            // A pair may be missing between two semicolons.
            if !rest.starts_with([';', ',']) && !rest.is_empty() {
                let (name, after) = rest.split_once('=').filter(|(name, _)| is_token(name)).ok_or(INVALID)?;
                let (value, after) = value(after)?;
                element.take(name, value)?;
                rest = after.trim_start_matches([' ', '\t']);
            }
            match rest.as_bytes().first() {
                None => return Ok(Some((element, ""))),
                Some(b',') => return Ok(Some((element, &rest[1..]))),
                Some(b';') => rest = rest[1..].trim_start_matches([' ', '\t']),
                Some(_) => return Err(INVALID),
            }
        }
    }

    /// Takes a pair. The same parameter twice could be read in two ways.
    fn take(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Refusal> {
        let place = match name {
            _ if name.eq_ignore_ascii_case("for") => &mut self.client,
            _ if name.eq_ignore_ascii_case("proto") => &mut self.proto,
            _ if name.eq_ignore_ascii_case("host") => &mut self.host,
            _ => return Ok(()),
        };
        if place.replace(value).is_some() { Err(INVALID) } else { Ok(()) }
    }
}

/// A token or a quoted string, and what stands behind it.
fn value(text: &str) -> Result<(Cow<'_, str>, &str), Refusal> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Colons and brackets belong in quotes, and many leave those out.
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let is_value = !value.is_empty() && !value.contains(['"', '=']);
        return if is_value { Ok((Cow::Borrowed(value), rest)) } else { Err(INVALID) };
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Ok((Cow::Owned(value), &quoted[place + 1..])),
            '\\' => value.push(characters.next().ok_or(INVALID)?.1),
            _ => value.push(character),
        }
    }
    Err(INVALID)
}

fn is_token(text: &str) -> bool {
    let is_in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_in_token)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{TrustedProxies, node};
    use crate::location::Scheme;

    fn proxies() -> TrustedProxies {
        TrustedProxies::listed(["10.0.0.0/8", "::1/128"].map(|range| range.parse().expect("a range")).into())
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        lines.iter().map(line).collect()
    }

    /// Client, whether the scheme is https, and host, each empty where nothing is said.
    fn read(lines: &[(&str, &str)]) -> Result<(String, Option<bool>, String), &'static str> {
        let headers = headers(lines);
        let forwarded = proxies().read(&headers).map_err(|refusal| refusal.text)?;
        let client = forwarded.client.map(|client| client.to_string()).unwrap_or_default();
        let is_https = forwarded.scheme.map(|scheme| scheme == Scheme::Https);
        Ok((client, is_https, forwarded.host.unwrap_or_default().into_owned()))
    }

    fn client(lines: &[(&str, &str)]) -> String {
        read(lines).map_or_else(|error| panic!("{lines:?}: {error}"), |(client, ..)| client)
    }

    #[test]
    fn nobody_is_trusted_who_is_not_listed() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let proxies = proxies();
        for peer in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(proxies.trusts(address(peer)) && proxies.may_name_the_client(address(peer)), "{peer}");
        }
        for peer in ["127.0.0.1", "11.0.0.1", "::2"] {
            assert!(!proxies.trusts(address(peer)) && !proxies.may_name_the_client(address(peer)), "{peer}");
        }
        let unsaid = TrustedProxies::default();
        assert!(!unsaid.trusts(address("127.0.0.1")) && unsaid.may_name_the_client(address("::ffff:127.0.0.1")));
        assert!(!unsaid.may_name_the_client(address("10.0.0.1")));
    }

    #[test]
    fn the_client_is_whom_the_outermost_trusted_proxy_has_seen() {
        for (value, seen) in [
            ("203.0.113.9", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
            ("<script>, 203.0.113.9:4711, 10.0.0.2", "203.0.113.9"),
            ("[2001:db8::1]:80, ::1", "2001:db8::1"),
            ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("1.1.1.1, unknown", ""),
            ("", ""),
            (" , ,", ""),
        ] {
            assert_eq!(client(&[("x-forwarded-for", value)]), seen, "{value:?}");
        }
        assert_eq!(client(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
    }

    #[test]
    fn scheme_and_host_are_those_that_the_outermost_trusted_proxy_was_asked_with() {
        let read = |fors, proto, host| {
            let lines = [("x-forwarded-for", fors), ("x-forwarded-proto", proto), ("x-forwarded-host", host)];
            let (_, is_https, host) = read(&lines).expect("all of them can be read");
            (is_https, host)
        };
        assert_eq!(read("203.0.113.9", "https", "shop.test"), (Some(true), "shop.test".to_owned()));
        let chained = read("203.0.113.9, 10.0.0.2", "http, https, http", "evil.test, shop.test:444, inner");
        assert_eq!(chained, (Some(true), "shop.test:444".to_owned()));
        let written_anew = read("203.0.113.9, 10.0.0.2", "WSS", "[::1]:80");
        assert_eq!(written_anew, (Some(true), "[::1]:80".to_owned()));
        assert_eq!(read("", "ws", ""), (Some(false), String::new()));
    }

    #[test]
    fn the_standard_header_is_read_where_no_other_is() {
        let value = "for=1.1.1.1;host=evil.test, For=\"203.0.113.9:_x\";Proto=https;by=10.0.0.2;host=\"shop.test:80\" , for=10.0.0.2";
        let standard = ("forwarded", value);
        let seen = ("203.0.113.9".to_owned(), Some(true), "shop.test:80".to_owned());
        assert_eq!(read(&[standard]), Ok(seen));
        assert_eq!(client(&[("forwarded", "for=1.1.1.1"), ("forwarded", "for=\"[2001:db8::1]:4711\"")]), "2001:db8::1");
        assert_eq!(client(&[("forwarded", "for=_hidden, for=10.0.0.2")]), "10.0.0.2");
        assert_eq!(client(&[("forwarded", "proto=https;")]), "");
        assert_eq!(client(&[standard, ("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (name, value) in [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", "user@shop.test"),
            ("forwarded", "for=\"1.1.1.1, for=203.0.113.9"),
            ("forwarded", "for=\"1.1.1.1, for=203.0.113.9;by=\"x"),
            ("forwarded", "for=1.1.1.1;for=203.0.113.9"),
            ("forwarded", "for"),
            ("forwarded", "for="),
            ("forwarded", "=1.1.1.1"),
            ("forwarded", "for =1.1.1.1"),
            ("forwarded", "for=1.1.1.1 for=2.2.2.2"),
            ("forwarded", "host=a/b"),
            ("forwarded", "proto=\"\""),
        ] {
            assert!(read(&[(name, value)]).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_node_is_an_address_with_or_without_a_port() {
        for (text, address) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("192.0.2.1:_p", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:_p", Some("2001:db8::1")),
            ("unknown", None),
            ("_name", None),
            ("192.0.2.1:", None),
            ("192.0.2.256", None),
            ("2001:db8::1]", None),
        ] {
            assert_eq!(node(text).map(|address| address.to_string()).as_deref(), address, "{text}");
        }
    }
}
