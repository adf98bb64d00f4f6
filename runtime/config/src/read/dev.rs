use std::net::{IpAddr, Ipv4Addr};

use super::project_file::Dialect;
use super::resource::Place;
use crate::diagnostic::Diagnostic;
use crate::model::Dev;
use crate::section::Section;

/// Reads `[dev]`.
pub(super) fn read_dev(root: &Section<'_>, place: &Place, dialect: Dialect) -> Dev {
    let section = root.section("dev");
    let section = section.as_ref();
    let persist_to = section.and_then(|section| section.string("persist_to"));
    Dev {
        port: section.and_then(|section| section.integer("port", 0..=65_535, "")).map(|port| port as u16),
        ip: section.and_then(|section| read_ip(section, dialect)).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        persist_to: place.path(persist_to.map_or_else(|| ".aerostack".to_owned(), |path| path.value)),
    }
}

/// The address that `text` names for listening: an IP address (an IPv6 one may stand in brackets), `localhost`, or `*` for all of the
/// machine.
pub fn listen_address(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        other => {
            let bracketed = other.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            bracketed.map_or_else(|| other.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6))
        }
    }
}

/// `ip`, or `host` in an aerostack.toml; wrangler's `host` is the name of the site to pretend to be, not an address.
fn read_ip(section: &Section<'_>, dialect: Dialect) -> Option<IpAddr> {
    let key = match dialect {
        Dialect::Aerostack if section.get("ip").is_none() => "host",
        _ => "ip",
    };
    let text = section.string(key)?;
    let ip = listen_address(&text.value);
    if ip.is_none() {
        let diagnostic = Diagnostic::error(format!("`dev.{key}` is not an address: \"{}\"", text.value))
            .at(text.span, "an IP address, \"localhost\", or \"*\" for every address of the machine");
        section.reader.problems.report(diagnostic);
    }
    ip
}
