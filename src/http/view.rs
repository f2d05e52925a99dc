//! The views: the pages about aegis itself, and their targets.

/// A page about aegis itself. No path of a view is a valid path of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// `/`: the status page.
    Status(Refresh),
    /// `/-/sd`: the targets for Prometheus (HTTP SD).
    Discovery,
    /// `/-/healthy`: whether the process answers.
    Healthy,
    /// `/-/ready`: whether a scrape can succeed.
    Ready,
}

/// Whether the status page loads itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    On,
    Off,
}

impl View {
    /// Every view.
    pub(crate) const ALL: &[Self] = &[
        Self::Status(Refresh::On),
        Self::Status(Refresh::Off),
        Self::Discovery,
        Self::Healthy,
        Self::Ready,
    ];

    /// Its path.
    #[must_use]
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Status(_) => "/",
            Self::Discovery => "/-/sd",
            Self::Healthy => "/-/healthy",
            Self::Ready => "/-/ready",
        }
    }

    /// Its request target. Only one view has a query, and it is a constant: nothing of it is parsed.
    #[must_use]
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Status(Refresh::Off) => "/?refresh=off",
            Self::Status(Refresh::On) | Self::Discovery | Self::Healthy | Self::Ready => {
                self.path()
            }
        }
    }

    /// The view that exactly this target requests.
    #[must_use]
    pub(crate) fn at(target: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|view| view.target() == target)
    }
}
