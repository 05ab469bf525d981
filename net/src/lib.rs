//! Travertine over the network. A beginning: only the place where the protocol will stand.
