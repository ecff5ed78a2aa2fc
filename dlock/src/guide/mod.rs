//! Chapters of the guide: what the reference does not say in one place.

#[doc = include_str!("poolers.md")]
pub mod poolers {}
