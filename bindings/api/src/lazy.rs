use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::Result;

/// A driver that is opened at its first use: what no worker uses costs no file, no thread and no time at the start.
///
/// A driver that cannot be opened fails the call that needed it; the next call tries again.
pub struct Lazy<D: ?Sized> {
    open: Box<dyn Fn() -> Result<Arc<D>> + Send + Sync>,
    opened: OnceLock<Arc<D>>,
    opening: Mutex<()>,
}

impl<D: ?Sized> Lazy<D> {
    /// A driver that `open` opens. What it takes is taken on the thread of whoever comes first.
    pub fn new(open: impl Fn() -> Result<Arc<D>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { open: Box::new(open), opened: OnceLock::new(), opening: Mutex::new(()) })
    }

    /// The driver, if somebody has used it already.
    pub fn opened(&self) -> Option<&Arc<D>> {
        self.opened.get()
    }

    /// The driver.
    pub fn get(&self) -> Result<&Arc<D>> {
        if let Some(driver) = self.opened.get() {
            return Ok(driver);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = self.opened.get() {
            return Ok(driver);
        }
        let driver = (self.open)()?;
        Ok(self.opened.get_or_init(|| driver))
    }
}

impl<D: ?Sized + Send + Sync + 'static> From<Arc<D>> for Lazy<D> {
    /// A driver that is open already.
    fn from(driver: Arc<D>) -> Self {
        let opened = OnceLock::from(driver.clone());
        Self { open: Box::new(move || Ok(driver.clone())), opened, opening: Mutex::new(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Error, ErrorKind};

    #[test]
    fn a_driver_is_opened_once_at_its_first_use() {
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = opened.clone();
        let lazy: Arc<Lazy<str>> = Lazy::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok("driver".into())
        });
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        for _ in 0..2 {
            assert_eq!(lazy.get().expect("it opens").as_ref(), "driver");
        }
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_driver_that_could_not_be_opened_is_tried_again() {
        let tries = AtomicUsize::new(0);
        let lazy: Arc<Lazy<str>> = Lazy::new(move || match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new(ErrorKind::Unavailable, "not yet")),
            _ => Ok("driver".into()),
        });
        assert_eq!(lazy.get().expect_err("not at first").message(), "not yet");
        assert!(lazy.get().is_ok());
    }
}
