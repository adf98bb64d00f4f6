//! A driver whose process is killed.
