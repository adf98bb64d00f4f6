use aerostack_outbound::Rule;

/// `[outbound]`: what a worker's `fetch` may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound {
    /// `allow`. None means everything; an empty list means nothing.
    pub allow: Option<Vec<Rule>>,
    /// `deny`.
    pub deny: Vec<Rule>,
    /// `private`. None means that it depends: `dev` allows, `serve` denies.
    pub private: Option<Private>,
}

/// `outbound.private`: addresses of this machine and of private networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Private {
    /// `true`
    Allowed,
    /// `false`
    Denied,
    /// A list: these, and no others.
    Only(Vec<Rule>),
}
