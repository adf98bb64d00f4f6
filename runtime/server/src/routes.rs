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

/// Where a worker would be mounted if a version of it could be loaded. Only a server that shows its errors has such mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenMount {
    /// As in [`Route::prefix`].
    pub prefix: String,
    /// As in [`Route::reach`].
    pub reach: RouteReach,
    /// Why there is no version: the answer to every request.
    pub reason: String,
}

/// All mounts. The longest prefix wins.
pub(crate) struct Routes(RwLock<Mounts>);

struct Mounts {
    /// Longest prefix first.
    routes: Arc<[Arc<Route>]>,
    broken: Vec<BrokenMount>,
}

impl Routes {
    pub(crate) fn new(routes: Vec<Route>, broken: Vec<BrokenMount>) -> Self {
        Self(RwLock::new(Mounts::new(routes, broken)))
    }

    /// Mounts other workers from now on.
    pub(crate) fn replace(&self, routes: Vec<Route>, broken: Vec<BrokenMount>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Mounts::new(routes, broken);
    }

    /// The route for a path in its normal form, see [`crate::location`]; none where a broken mount is closer to it.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Route>> {
        let mounts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let route = mounts.routes.iter().find(|route| route.covers(path))?;
        if !mounts.broken.is_empty() {
            let closest = mounts.broken_at(path).map(|broken| closeness(&broken.prefix, broken.reach));
            if closest > Some(closeness(&route.prefix, route.reach)) {
                return None;
            }
        }
        Some(route.clone())
    }

    /// Why the worker that would answer for a path cannot.
    pub(crate) fn broken_at(&self, path: &str) -> Option<String> {
        let mounts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        mounts.broken_at(path).map(|broken| broken.reason.clone())
    }

    /// What to tell a client that asks for a path nothing is mounted at.
    pub(crate) fn nothing_at(&self, path: &str) -> String {
        let mounted: Vec<String> = self.all().iter().map(|route| format!("{}/", route.prefix)).collect();
        format!("no worker is mounted at {path}\nmounted: {}", mounted.join(" "))
    }

    /// All routes, longest prefix first.
    pub(crate) fn all(&self) -> Arc<[Arc<Route>]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).routes.clone()
    }
}

impl Mounts {
    /// Sorts so that the first match is the longest; of two for one path, the exact one.
    fn new(mut routes: Vec<Route>, mut broken: Vec<BrokenMount>) -> Self {
        let of_routes = routes.iter_mut().flat_map(|route| [&mut route.prefix, &mut route.replacement]);
        let of_broken = broken.iter_mut().map(|broken| &mut broken.prefix);
        // Paths are compared in their normal form: a request for `/é` says `/%C3%A9`.
        for path in of_routes.chain(of_broken).filter(|path| !path.is_empty()) {
            *path = routed_path(path).into_owned();
        }
        routes.sort_by_key(|route| Reverse(closeness(&route.prefix, route.reach)));
        Self { routes: routes.into_iter().map(Arc::new).collect(), broken }
    }

    fn broken_at(&self, path: &str) -> Option<&BrokenMount> {
        let covering = self.broken.iter().filter(|broken| covers(&broken.prefix, broken.reach, path));
        covering.max_by_key(|broken| closeness(&broken.prefix, broken.reach))
    }
}

/// Of several mounts that cover a path, the one with the largest answers.
fn closeness(prefix: &str, reach: RouteReach) -> (usize, bool) {
    (prefix.len(), reach == RouteReach::Exact)
}

fn covers(prefix: &str, reach: RouteReach, path: &str) -> bool {
    if prefix.is_empty() && reach == RouteReach::Tree {
        return path.is_empty() || path.starts_with('/');
    }
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || (reach == RouteReach::Tree && rest.starts_with('/')))
}

impl Route {
    fn covers(&self, path: &str) -> bool {
        covers(&self.prefix, self.reach, path)
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
