//! The common parts of the fuzz targets: a world of sockets, a scraper in memory, and naive
//! reference parsers.

pub mod answers;
pub mod requests;
pub mod scripted;
pub mod services;
pub mod world;
