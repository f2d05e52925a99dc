//! What the fuzz targets share: a world of sockets, a scraper in memory, and references that are
//! naive on purpose.

pub mod answers;
pub mod requests;
pub mod scripted;
pub mod services;
pub mod world;
