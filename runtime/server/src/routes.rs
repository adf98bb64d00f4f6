use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock};

use aerostack_isolate::Worker;

use crate::location::{length_of_prefix, routed_path};

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

    /// The route for a path in its normal form, see [`crate::location`].
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
    for route in &mut routes {
        // Paths are compared in their normal form: a request for `/é` says `/%C3%A9`.
        for path in [&mut route.prefix, &mut route.replacement] {
            if !path.is_empty() {
                *path = routed_path(path).into_owned();
            }
        }
    }
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

    /// How many bytes at the begin of a path of this route the handler does not see, and what it sees in their place. None is a path
    /// that it sees as it is.
    pub(crate) fn replaced(&self, path: &str) -> Option<(usize, &str)> {
        // Of nothing with nothing, the library's comparison takes longer than the look.
        let is_of_root = self.prefix.is_empty() && self.replacement.is_empty();
        if is_of_root || self.prefix == self.replacement {
            return None;
        }
        let length = length_of_prefix(path, &self.prefix)?;
        let is_whole = length == path.len();
        Some((length, if self.replacement.is_empty() && is_whole { "/" } else { &self.replacement }))
    }
}
