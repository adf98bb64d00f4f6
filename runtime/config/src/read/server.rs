use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::Diagnostic;
use crate::model::Server;
use crate::section::Section;
use crate::source::Located;

/// Reads `[server]`. An address that is none is an error: leaving it out would believe nobody where somebody was meant.
pub(super) fn read_server(root: &Section<'_>) -> Server {
    let Some(section) = root.section("server") else {
        return Server::default();
    };
    let proxies = section.get("trusted_proxies").map(|_| section.strings("trusted_proxies"));
    let ranges = |proxies: Vec<Located<String>>| proxies.iter().filter_map(|proxy| range(&section, proxy)).collect();
    Server { trusted_proxies: proxies.map(ranges) }
}

/// Says that `[server]` of a mounted project counts for nothing.
pub(super) fn report_unused_server(root: &Section<'_>) {
    if let Some(entry) = root.get("server") {
        let diagnostic = Diagnostic::warning("`[server]` of a mounted project has no effect")
            .at(root.reader.span(&entry.key_range), "")
            .help("the outermost project's counts");
        root.reader.problems.report(diagnostic);
    }
}

/// An address, or a range of addresses in CIDR notation.
fn range(section: &Section<'_>, text: &Located<String>) -> Option<IpNet> {
    let address = text.value.parse::<IpAddr>().map(IpNet::from);
    let Ok(range) = address.or_else(|_| text.value.parse::<IpNet>()) else {
        let diagnostic = Diagnostic::error(format!("`server.trusted_proxies` has no address in \"{}\"", text.value))
            .at(text.span.clone(), "an address or a range: \"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"")
            .help("names are not resolved: who controls a name could point it at any address");
        section.reader.problems.report(diagnostic);
        return None;
    };
    if range.trunc() != range {
        let diagnostic = Diagnostic::error(format!(
            "`server.trusted_proxies` has a range with bits behind its first {}: \"{}\"",
            range.prefix_len(),
            text.value
        ))
        .at(text.span.clone(), format!("it starts at {}", range.trunc()));
        section.reader.problems.report(diagnostic);
        return None;
    }
    Some(range)
}
