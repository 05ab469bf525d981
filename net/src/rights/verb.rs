//! The verbs that can be asked over the network, and the right that each takes.

use std::fmt;

macro_rules! named {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $name:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$doc])* $name,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The one that is called so.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|this| this.name() == name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// What somebody may be granted; none contains another.
    Right {
        /// To read records, roots, streams and figures, and to follow commits.
        Read "read",
        /// To store records.
        Append "append",
        /// To move a name.
        Commit "commit",
        /// To take a store over, to free space, to close it.
        Admin "admin",
    }
}

named! {
    /// What can be asked of a server.
    Verb {
        /// A batch at its place.
        Store "store",
        /// A record.
        Read "read",
        /// A commit, with the marker and the names that it moves.
        Commit "commit",
        /// A root marker.
        Root "root",
        /// A new epoch: whoever wrote before no longer does.
        Fence "fence",
        /// Where older epochs end.
        Adopt "adopt",
        /// Whole batches in order.
        Scan "scan",
        /// Records given up.
        Reclaim "reclaim",
        /// How a store is.
        Status "status",
        /// The end of a served store. A client that leaves asks for nothing.
        Close "close",
        /// What a note beside a served store says.
        Recall "recall",
        /// A note beside a served store.
        Note "note",
        /// A session of a shared engine: a place to store records that nobody else sees yet.
        Session "session",
        /// The names of a shared engine, and what they point to.
        Names "names",
        /// A view of a commit.
        Snapshot "snapshot",
        /// Commits as they land.
        Follow "follow",
    }
}

impl Verb {
    /// The right that it takes.
    #[must_use]
    pub const fn right(self) -> Right {
        match self {
            Self::Read | Self::Root | Self::Scan | Self::Status | Self::Recall => Right::Read,
            Self::Names | Self::Snapshot | Self::Follow => Right::Read,
            Self::Store | Self::Session => Right::Append,
            Self::Commit => Right::Commit,
            // Each of these takes something from whoever else uses the store.
            Self::Fence | Self::Adopt | Self::Reclaim | Self::Close | Self::Note => Right::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for right in Right::ALL {
            assert_eq!(Right::by_name(right.name()), Some(*right));
        }
        for verb in Verb::ALL {
            assert_eq!(Verb::by_name(verb.name()), Some(*verb));
        }
        assert_eq!(Right::by_name("Read"), None);
    }

    #[test]
    fn whoever_reads_can_change_nothing() {
        let harmless = |verb: &&Verb| verb.right() == Right::Read;
        let harmless: Vec<_> = Verb::ALL
            .iter()
            .filter(harmless)
            .map(|verb| verb.name())
            .collect();
        let reads = [
            "read", "root", "scan", "status", "recall", "names", "snapshot", "follow",
        ];
        assert_eq!(harmless, reads);
    }
}
