//! Stub: nothing here depends on the order of threads.

pub(crate) mod escaped {
    use std::fmt;

    pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&String::from_utf8_lossy(self.0))
        }
    }
}

pub(crate) mod host_name {
    #[derive(Debug)]
    pub(crate) struct HostName;

    impl HostName {
        pub(crate) fn current() -> Self {
            Self
        }
    }
}
