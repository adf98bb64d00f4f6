//! The behaviour every driver must show.
