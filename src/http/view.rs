//! The views: the pages about aegis itself, and their paths.

/// A page about aegis itself. No path of a view is a valid path of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// `/`: the status page.
    Status,
    /// `/-/sd`: the targets for Prometheus (HTTP SD).
    Discovery,
    /// `/-/healthy`: whether the process answers.
    Healthy,
    /// `/-/ready`: whether a scrape can succeed.
    Ready,
}

impl View {
    /// Every view.
    pub(crate) const ALL: &[Self] = &[Self::Status, Self::Discovery, Self::Healthy, Self::Ready];

    /// Its path.
    #[must_use]
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Status => "/",
            Self::Discovery => "/-/sd",
            Self::Healthy => "/-/healthy",
            Self::Ready => "/-/ready",
        }
    }

    /// The view at a path.
    #[must_use]
    pub(crate) fn at(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| view.path() == path)
    }
}
