//! Stub: for the tests of aegis.
