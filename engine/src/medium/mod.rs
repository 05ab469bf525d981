//! medium.
