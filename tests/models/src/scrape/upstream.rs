//! Stub: the exchange is one.
