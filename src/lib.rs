//! Travertine.
