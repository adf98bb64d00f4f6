use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock};

use aerostack_isolate::Worker;

/// Where a worker is mounted.
#[derive(Clone)]
pub struct Route {
    /// The path it answers for, without a trailing slash; empty for the root.
    pub prefix: String,
    /// Whether paths below the prefix are answered too.
    pub reach: RouteReach,
    /// What the handler sees in place of the prefix: empty when it is stripped, the prefix itself when it is kept.
    pub replacement: String,
    /// The worker.
    pub worker: Arc<Worker>,
}

/// Whether a [`Route`] is one path or a tree of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteReach {
    /// The prefix itself only.
    Exact,
    /// The prefix and everything below it.
    Tree,
}

/// All mounted workers. The longest prefix wins.
pub(crate) struct Routes(RwLock<Arc<[Arc<Route>]>>);

impl Routes {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self(RwLock::new(sorted(routes)))
    }

    /// Mounts other workers from now on.
    pub(crate) fn replace(&self, routes: Vec<Route>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sorted(routes);
    }

    /// The route for a path.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Route>> {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        routes.iter().find(|route| route.covers(path)).cloned()
    }

    /// What to tell a client that asks for a path nothing is mounted at.
    pub(crate) fn nothing_at(&self, path: &str) -> String {
        let mounted: Vec<String> = self.all().iter().map(|route| format!("{}/", route.prefix)).collect();
        format!("no worker is mounted at {path}\nmounted: {}", mounted.join(" "))
    }

    /// All routes, longest prefix first.
    pub(crate) fn all(&self) -> Arc<[Arc<Route>]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// So that the first match is the longest; of two for one path, the exact one.
fn sorted(mut routes: Vec<Route>) -> Arc<[Arc<Route>]> {
    routes.sort_by_key(|route| Reverse((route.prefix.len(), route.reach == RouteReach::Exact)));
    routes.into_iter().map(Arc::new).collect()
}

impl Route {
    fn covers(&self, path: &str) -> bool {
        if self.prefix.is_empty() && self.reach == RouteReach::Tree {
            return path.is_empty() || path.starts_with('/');
        }
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || (self.reach == RouteReach::Tree && rest.starts_with('/')))
    }

    /// The paths that it answers for, as the config writes them: `/api/*`.
    pub(crate) fn pattern(&self) -> String {
        match self.reach {
            RouteReach::Exact => self.prefix.clone(),
            RouteReach::Tree => format!("{}/*", self.prefix),
        }
    }

    /// Path and query as the handler sees them.
    pub(crate) fn inner_path<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        // Of nothing with nothing, the library's comparison takes longer than the look.
        let is_of_root = self.prefix.is_empty() && self.replacement.is_empty();
        if is_of_root || self.prefix == self.replacement {
            return Cow::Borrowed(path_and_query);
        }
        let rest = &path_and_query[self.prefix.len()..];
        if self.replacement.is_empty() && rest.starts_with('/') {
            return Cow::Borrowed(rest);
        }
        let slash = if self.replacement.is_empty() { "/" } else { "" };
        Cow::Owned(format!("{}{slash}{rest}", self.replacement))
    }
}
