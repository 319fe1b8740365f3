//! When results are given out: `EMIT ..` behind a query.

/// The emission of a continuous query; a batch gives out everything at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Once, when it is final by watermarks that are this much later, in microseconds.
    Close { delay_us: i64 },
    /// Whenever it has changed.
    Update,
    /// What has changed, every so many microseconds of processing time.
    Periodic { every_us: i64 },
    /// As rows come: changes of an aggregate, and all else when it is final.
    Changes,
}

impl Emit {
    /// How much later the watermarks are, in microseconds.
    pub fn delay_us(self) -> i64 {
        match self {
            Self::Close { delay_us } => delay_us,
            Self::Update | Self::Periodic { .. } | Self::Changes => 0,
        }
    }
}

impl Default for Emit {
    fn default() -> Self {
        Self::Close { delay_us: 0 }
    }
}
