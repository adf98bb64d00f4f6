/// Which paths a function answers, and what its handler sees of them (contract 3.6, DESIGN "Decisions").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// As it is shown: `/auth/*`, or `/health` for one path only.
    pub pattern: String,
    /// The pattern without `/*`: `/auth`; empty for `/*`.
    pub prefix: String,
    /// Whether paths below the prefix match too.
    pub reach: RouteReach,
    /// What the handler sees in place of the prefix: empty when it is stripped, the prefix itself when it is kept.
    pub replacement: String,
}

/// Whether a [`Route`] is one path or a tree of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteReach {
    /// The path of the pattern only.
    Exact,
    /// The prefix itself and everything below it.
    Below,
}

/// Whether the prefix of a route is taken off the path before the handler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    Stripped,
    Kept,
}

impl Route {
    /// Parses `/auth/*` or `/health`; the error says what a pattern looks like.
    pub(crate) fn parse(pattern: &str, prefix_handling: Prefix) -> Result<Self, &'static str> {
        if !pattern.starts_with('/') {
            return Err("a route starts with `/`");
        }
        let (prefix, reach) = match pattern.strip_suffix("/*") {
            Some(prefix) => (prefix, RouteReach::Below),
            None => (pattern, RouteReach::Exact),
        };
        if prefix.contains('*') {
            return Err("`*` stands only at the end, after a `/`: \"/auth/*\"");
        }
        if prefix.contains(['?', '#']) {
            return Err("a route is a path, without query and fragment");
        }
        if prefix.contains("//") || (reach == RouteReach::Below && prefix.ends_with('/')) {
            return Err("a route has no empty path segments");
        }
        let replacement = if prefix_handling == Prefix::Kept || reach == RouteReach::Exact { prefix } else { "" };
        Ok(Self { pattern: pattern.to_owned(), prefix: prefix.to_owned(), reach, replacement: replacement.to_owned() })
    }

    /// This route of a project that is itself mounted at `outer`.
    pub(crate) fn inside(&self, outer: &Self) -> Self {
        Self {
            pattern: format!("{}{}", outer.prefix, self.pattern),
            prefix: format!("{}{}", outer.prefix, self.prefix),
            reach: self.reach,
            replacement: format!("{}{}", outer.replacement, self.replacement),
        }
    }

    /// The path that the handler sees for a request to `path` (without query), or none when the route does not match.
    ///
    /// Under `/auth/*`: `/auth/login` -> `/login`, `/auth` -> `/`, `/author` -> none.
    pub fn path_seen_by_handler(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        let matches = match self.reach {
            RouteReach::Exact => rest.is_empty(),
            RouteReach::Below => rest.is_empty() || rest.starts_with('/'),
        };
        if !matches {
            return None;
        }
        let seen = format!("{}{rest}", self.replacement);
        Some(if seen.is_empty() { "/".to_owned() } else { seen })
    }

    /// How specific the route is: of two routes that match, the one with the greater value wins.
    pub(crate) fn specificity(&self) -> (usize, bool) {
        (self.prefix.len(), self.reach == RouteReach::Exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pattern: &str, prefix: Prefix, path: &str) -> Option<String> {
        Route::parse(pattern, prefix).expect("a valid pattern").path_seen_by_handler(path)
    }

    #[test]
    fn the_prefix_is_stripped_at_segment_borders_only() {
        assert_eq!(seen("/auth/*", Prefix::Stripped, "/auth/login").as_deref(), Some("/login"));
        assert_eq!(seen("/auth/*", Prefix::Stripped, "/auth").as_deref(), Some("/"));
        assert_eq!(seen("/auth/*", Prefix::Stripped, "/auth/").as_deref(), Some("/"));
        assert_eq!(seen("/auth/*", Prefix::Stripped, "/author"), None);
        assert_eq!(seen("/*", Prefix::Stripped, "/any/path").as_deref(), Some("/any/path"));
    }

    #[test]
    fn a_kept_prefix_stays_and_an_exact_route_matches_one_path() {
        assert_eq!(seen("/auth/*", Prefix::Kept, "/auth/login").as_deref(), Some("/auth/login"));
        assert_eq!(seen("/health", Prefix::Stripped, "/health").as_deref(), Some("/health"));
        assert_eq!(seen("/health", Prefix::Stripped, "/health/x"), None);
        assert_eq!(seen("/", Prefix::Stripped, "/").as_deref(), Some("/"));
    }

    #[test]
    fn a_route_inside_a_mounted_project_matches_below_the_mount() {
        let outer = Route::parse("/shop/*", Prefix::Stripped).expect("valid");
        let inner = Route::parse("/auth/*", Prefix::Stripped).expect("valid").inside(&outer);
        assert_eq!(inner.pattern, "/shop/auth/*");
        assert_eq!(inner.path_seen_by_handler("/shop/auth/login").as_deref(), Some("/login"));
        let kept = Route::parse("/auth/*", Prefix::Kept).expect("valid").inside(&outer);
        assert_eq!(kept.path_seen_by_handler("/shop/auth/login").as_deref(), Some("/auth/login"));
    }

    #[test]
    fn a_pattern_with_a_star_elsewhere_is_refused() {
        for pattern in ["auth/*", "/a*", "/*/b", "/a/**", "//*", "/a?b", ""] {
            assert!(Route::parse(pattern, Prefix::Stripped).is_err(), "for {pattern:?}");
        }
    }
}
