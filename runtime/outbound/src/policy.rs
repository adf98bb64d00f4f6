use std::net::IpAddr;

use url::Host;

use crate::address::address_kind;
use crate::rule::{Rule, without_last_dot};

/// What a worker may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What it may reach; `None` is everything, an empty list nothing.
    pub allow: Option<Vec<Rule>>,
    /// What it may not reach, whatever else is allowed.
    pub deny: Vec<Rule>,
    /// Whether it may reach addresses that are not of the public internet.
    pub private: PrivateAddresses,
}

/// Whether addresses may be reached that are not of the public internet. See [`address_kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// Like any other.
    Allowed,
    /// Only those that a rule is about: an address, or a range.
    Denied {
        /// `outbound.private = [...]`; empty for `false`.
        except: Vec<Rule>,
    },
}

/// Why something may not be reached. The text names the host as the worker's code named it, never the address behind a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outbound access to host {host} is not allowed: {reason}")]
pub struct Refusal {
    /// Host and, where it is not the scheme's own, port.
    pub host: String,
    /// Which rule, and which key changes it.
    pub reason: String,
}

/// What an address has against it.
enum Objection<'a> {
    Denied(&'a Rule),
    Private(crate::AddressKind),
    NotAllowed,
}

impl Policy {
    /// Everything may be reached.
    pub fn unrestricted() -> Self {
        Self { allow: None, deny: Vec::new(), private: PrivateAddresses::Allowed }
    }

    /// Whether anything at all is restricted.
    pub fn is_unrestricted(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty() && self.private == PrivateAddresses::Allowed
    }

    /// Whether a request to `host` may be made. For a name that is not all: what it resolves to is for
    /// [`Policy::check_addresses`].
    pub fn check_host(&self, host: &Host<&str>, port: u16) -> Result<(), Refusal> {
        let name = match host {
            Host::Domain(name) => without_last_dot(name),
            Host::Ipv4(address) => return self.check_literal(IpAddr::V4(*address), host, port),
            Host::Ipv6(address) => return self.check_literal(IpAddr::V6(*address), host, port),
        };
        if let Some(rule) = self.deny.iter().find(|rule| rule.matches_name(name, port)) {
            return Err(refused(host, port, denied(rule)));
        }
        let allow = self.allow.as_deref();
        let may_be_allowed = |rule: &Rule| rule.matches_name(name, port) || rule.is_about_addresses();
        if allow.is_some_and(|allow| !allow.iter().any(may_be_allowed)) {
            return Err(refused(host, port, NOT_ALLOWED.to_owned()));
        }
        Ok(())
    }

    /// Which of the addresses that `name` resolved to may be connected to; there is at least one, or a refusal. A port that no rule
    /// singles out may be given as 0.
    pub fn check_addresses(&self, name: &str, port: u16, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
        let named = without_last_dot(name).to_ascii_lowercase();
        let is_named = self.allow.as_ref().is_none_or(|allow| allow.iter().any(|rule| rule.matches_name(&named, port)));
        let mut first = None;
        let mut usable = Vec::with_capacity(addresses.len());
        for address in addresses {
            let objection = self.objection(*address, port);
            match objection.filter(|objection| !(is_named && matches!(objection, Objection::NotAllowed))) {
                None => usable.push(*address),
                Some(objection) => first = first.or(Some(objection)),
            }
        }
        match first {
            Some(objection) if usable.is_empty() => {
                let reason = match objection {
                    Objection::Denied(rule) => denied(rule),
                    Objection::Private(kind) => private(&format!("its address is {kind}")),
                    Objection::NotAllowed => NOT_ALLOWED.to_owned(),
                };
                Err(refused(&Host::Domain(name), port, reason))
            }
            _ => Ok(usable),
        }
    }

    /// The ports that rules single out. For all others [`Policy::check_addresses`] answers alike.
    pub fn single_ports(&self) -> impl Iterator<Item = u16> {
        let except = match &self.private {
            PrivateAddresses::Allowed => &[][..],
            PrivateAddresses::Denied { except } => except,
        };
        let rules = self.deny.iter().chain(self.allow.iter().flatten()).chain(except);
        rules.filter_map(Rule::port)
    }

    fn check_literal(&self, address: IpAddr, host: &Host<&str>, port: u16) -> Result<(), Refusal> {
        let reason = match self.objection(address, port) {
            None => return Ok(()),
            Some(Objection::Denied(rule)) => denied(rule),
            Some(Objection::Private(kind)) => private(&format!("the address is {kind}")),
            Some(Objection::NotAllowed) => NOT_ALLOWED.to_owned(),
        };
        Err(refused(host, port, reason))
    }

    fn objection(&self, address: IpAddr, port: u16) -> Option<Objection<'_>> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.reaches_address(address, port)) {
            return Some(Objection::Denied(rule));
        }
        if let PrivateAddresses::Denied { except } = &self.private
            && let Some(kind) = address_kind(address)
            && !except.iter().any(|rule| rule.matches_address(address, port))
        {
            return Some(Objection::Private(kind));
        }
        let is_allowed =
            self.allow.as_ref().is_none_or(|allow| allow.iter().any(|rule| rule.matches_address(address, port)));
        (!is_allowed).then_some(Objection::NotAllowed)
    }
}

/// A host as refusals name it: with its port, unless that is one of the web's own.
pub fn shown_host(host: &Host<&str>, port: u16) -> String {
    if matches!(port, 80 | 443) { host.to_string() } else { format!("{host}:{port}") }
}

const NOT_ALLOWED: &str = "no rule of outbound.allow is about it";

fn denied(rule: &Rule) -> String {
    format!("the rule \"{rule}\" of outbound.deny is about it")
}

fn private(what: &str) -> String {
    format!("{what}, and outbound.private does not allow it")
}

fn refused(host: &Host<&str>, port: u16, reason: String) -> Refusal {
    Refusal { host: shown_host(host, port), reason }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
    }

    fn public_only() -> Policy {
        Policy { private: PrivateAddresses::Denied { except: Vec::new() }, ..Policy::unrestricted() }
    }

    /// What happens to a request before names are resolved.
    fn ask(policy: &Policy, url: &str) -> Result<(), String> {
        let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let port = url.port_or_known_default().expect("HTTP has a port");
        policy.check_host(&url.host().expect("HTTP has a host"), port).map_err(|refusal| refusal.to_string())
    }

    fn resolved(policy: &Policy, name: &str, addresses: &[&str]) -> Result<Vec<String>, String> {
        let addresses: Vec<IpAddr> =
            addresses.iter().map(|text| text.parse().unwrap_or_else(|_| panic!("{text} is an address"))).collect();
        let usable = policy.check_addresses(name, 443, &addresses).map_err(|refusal| refusal.to_string())?;
        Ok(usable.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_private_address_is_refused_in_every_spelling() {
        for (url, host, kind) in [
            ("http://127.0.0.1/", "127.0.0.1", "loopback"),
            ("http://2130706433/", "127.0.0.1", "loopback"),
            ("http://0x7f000001/", "127.0.0.1", "loopback"),
            ("http://0177.0.0.1/", "127.0.0.1", "loopback"),
            ("http://127.1/", "127.0.0.1", "loopback"),
            ("http://0x7f.1/", "127.0.0.1", "loopback"),
            ("http://127.0.0.1./", "127.0.0.1", "loopback"),
            ("http://１２７.０.０.１/", "127.0.0.1", "loopback"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1", "loopback"),
            ("http://user@127.0.0.1/", "127.0.0.1", "loopback"),
            ("http://0/", "0.0.0.0", "unspecified"),
            ("http://0.0.0.0/", "0.0.0.0", "unspecified"),
            ("http://[::]/", "[::]", "unspecified"),
            ("http://[::1]/", "[::1]", "loopback"),
            ("http://[0:0:0:0:0:0:0:1]/", "[::1]", "loopback"),
            ("http://[::ffff:127.0.0.1]/", "[::ffff:7f00:1]", "loopback"),
            ("http://[::ffff:7f00:1]/", "[::ffff:7f00:1]", "loopback"),
            ("http://[64:ff9b::127.0.0.1]/", "[64:ff9b::7f00:1]", "loopback"),
            ("http://[2002:7f00:1::]/", "[2002:7f00:1::]", "loopback"),
            ("http://169.254.169.254/latest/meta-data/", "169.254.169.254", "link-local"),
            ("http://2852039166/", "169.254.169.254", "link-local"),
            ("http://10.1.2.3/", "10.1.2.3", "private"),
            ("http://[fd00:ec2::254]/", "[fd00:ec2::254]", "private"),
            ("http://100.100.100.200/", "100.100.100.200", "carrier-grade NAT"),
            ("http://224.0.0.1/", "224.0.0.1", "multicast"),
        ] {
            let expected = format!(
                "outbound access to host {host} is not allowed: the address is {kind}, and outbound.private does not allow it"
            );
            assert_eq!(ask(&public_only(), url), Err(expected), "{url}");
            assert_eq!(ask(&Policy::unrestricted(), url), Ok(()), "{url}");
        }
        assert_eq!(ask(&public_only(), "http://1.1.1.1/"), Ok(()));
        // A zone is no part of a URL's host: there is nothing to ask.
        assert!(Url::parse("http://[fe80::1%25eth0]/").is_err());
    }

    #[test]
    fn a_name_is_connected_to_at_its_public_addresses_only() {
        let policy = public_only();
        assert_eq!(ask(&policy, "http://rebound.example/"), Ok(()));
        assert_eq!(
            resolved(&policy, "rebound.example", &["127.0.0.1", "1.1.1.1", "::1"]),
            Ok(vec!["1.1.1.1".to_owned()])
        );
        assert_eq!(
            resolved(&policy, "rebound.example", &["169.254.169.254", "::1"]),
            Err("outbound access to host rebound.example is not allowed: its address is link-local, and \
                 outbound.private does not allow it"
                .to_owned())
        );
        assert_eq!(resolved(&policy, "nowhere.example", &[]), Ok(Vec::new()));
    }

    #[test]
    fn private_addresses_may_be_excepted_one_by_one() {
        let except = rules(&["10.0.0.0/24", "127.0.0.1:11434"]);
        let policy = Policy { private: PrivateAddresses::Denied { except }, ..Policy::unrestricted() };
        assert_eq!(ask(&policy, "http://10.0.0.9/"), Ok(()));
        assert!(ask(&policy, "http://10.0.1.9/").is_err());
        assert_eq!(ask(&policy, "http://127.0.0.1:11434/"), Ok(()));
        assert!(ask(&policy, "http://127.0.0.1:11435/").is_err());
        assert!(ask(&policy, "http://[64:ff9b::10.0.0.9]/").is_err(), "an exception is for the address itself");
        assert_eq!(policy.single_ports().collect::<Vec<_>>(), [11434]);
    }

    #[test]
    fn with_a_list_of_what_is_allowed_nothing_else_is() {
        let policy = Policy { allow: Some(rules(&["api.example.com", "*.cdn.example"])), ..public_only() };
        assert_eq!(ask(&policy, "https://api.example.com/"), Ok(()));
        assert_eq!(ask(&policy, "https://API.example.com./"), Ok(()));
        assert_eq!(ask(&policy, "https://img.cdn.example/"), Ok(()));
        for url in [
            "https://evil.example/",
            "https://cdn.example/",
            "https://1.1.1.1/",
            "https://api.example.com.evil.example/",
        ] {
            assert!(ask(&policy, url).is_err(), "{url}");
        }
        assert_eq!(
            ask(&policy, "https://evil.example:8443/"),
            Err("outbound access to host evil.example:8443 is not allowed: no rule of outbound.allow is about it"
                .to_owned())
        );
        assert_eq!(resolved(&policy, "api.example.com", &["1.1.1.1"]), Ok(vec!["1.1.1.1".to_owned()]));
        assert!(
            resolved(&policy, "api.example.com", &["10.0.0.1"]).is_err(),
            "an allowed name is not a private address"
        );
        let one_port = Policy { allow: Some(rules(&["api.example.com:443"])), ..Policy::unrestricted() };
        assert_eq!(resolved(&one_port, "api.example.com", &["1.1.1.1"]), Ok(vec!["1.1.1.1".to_owned()]));
        assert!(ask(&one_port, "http://api.example.com/").is_err());
        let nothing = Policy { allow: Some(Vec::new()), ..Policy::unrestricted() };
        assert!(ask(&nothing, "https://api.example.com/").is_err());
    }

    #[test]
    fn allowed_addresses_decide_once_a_name_is_resolved() {
        let policy = Policy { allow: Some(rules(&["1.1.1.0/24"])), ..Policy::unrestricted() };
        assert_eq!(ask(&policy, "https://one.example/"), Ok(()));
        assert_eq!(resolved(&policy, "one.example", &["1.1.1.1", "8.8.8.8"]), Ok(vec!["1.1.1.1".to_owned()]));
        assert!(resolved(&policy, "one.example", &["8.8.8.8"]).is_err());
    }

    #[test]
    fn what_is_denied_stays_denied() {
        let policy = Policy {
            allow: Some(rules(&["*"])),
            deny: rules(&["*.ads.example", "8.8.8.0/24", "*:25"]),
            private: PrivateAddresses::Allowed,
        };
        assert_eq!(
            ask(&policy, "https://x.ads.example/"),
            Err("outbound access to host x.ads.example is not allowed: the rule \"*.ads.example\" of outbound.deny is about it"
                .to_owned())
        );
        assert!(ask(&policy, "https://8.8.8.8/").is_err());
        assert!(ask(&policy, "https://[64:ff9b::8.8.8.8]/").is_err());
        assert!(ask(&policy, "https://mail.example:25/").is_err());
        assert_eq!(resolved(&policy, "dns.example", &["8.8.8.8", "9.9.9.9"]), Ok(vec!["9.9.9.9".to_owned()]));
        assert_eq!(ask(&policy, "https://ok.example/"), Ok(()));
    }
}
