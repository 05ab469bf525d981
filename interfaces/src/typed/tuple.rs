//! Tuples as keys: one part after the other.

use travertine_engine::contract::Result;

use super::key::{AsKey, Key};

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        impl<$($part: AsKey),*> AsKey for ($($part,)*) {
            fn append_to(&self, out: &mut Vec<u8>) {
                let _ = &out;
                $(self.$at.append_to(out);)*
            }
        }

        impl<$($part: Key),*> Key for ($($part,)*) {
            fn take(bytes: &mut &[u8]) -> Result<Self> {
                let _ = &bytes;
                Ok(($($part::take(bytes)?,)*))
            }
        }
    )*};
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
