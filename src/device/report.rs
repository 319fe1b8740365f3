//! What `thalweg devices` tells: every adapter, what it can do and how fast it is.

use serde::Serialize;

use super::player::{Capabilities, Player};
use super::rates::{self, Rates};
use super::{adapter, calibrate, gpu};
use crate::error::DeviceError;

/// One adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterReport {
    /// The adapter is the one taken where none is named.
    pub preferred: bool,
    #[serde(flatten)]
    pub capabilities: Capabilities,
    /// Measured now where that was asked for, else what a calibration left, if any.
    pub rates: Option<Rates>,
    /// Why it cannot be used; then floats and rates tell nothing.
    pub error: Option<String>,
}

/// All adapters, the preferred one first; with `measure`, also their rates, some seconds each.
/// No adapter at all is an empty list.
///
/// # Errors
/// `NoAdapter` where `THALWEG_BACKEND` asks for one that does not exist.
pub async fn report(measure: bool) -> Result<Vec<AdapterReport>, DeviceError> {
    let mut reports = Vec::new();
    for adapter in adapter::all()? {
        let mut report = match look(&adapter, measure).await {
            Ok(report) => report,
            Err(error) => AdapterReport {
                preferred: false,
                capabilities: adapter::capabilities(&adapter, adapter::tier_of(adapter.features())),
                rates: None,
                error: Some(error.to_string()),
            },
        };
        report.preferred = reports.is_empty();
        reports.push(report);
    }
    Ok(reports)
}

async fn look(adapter: &wgpu::Adapter, measure: bool) -> Result<AdapterReport, DeviceError> {
    let player = gpu::open_adapter(adapter)?;
    let capabilities = player.capabilities().clone();
    let rates = if measure {
        Some(calibrate::measure(&*player).await?)
    } else {
        rates::load(&capabilities).map(|calibration| calibration.rates)
    };
    Ok(AdapterReport { preferred: false, capabilities, rates, error: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing;

    #[tokio::test]
    async fn every_adapter_is_told_and_the_preferred_one_first() {
        let Some(player) = testing::shared(None) else { return };
        let reports = report(false).await.unwrap();
        assert_eq!(reports[0].capabilities.name, player.capabilities().name);
        assert!(reports[0].preferred && reports[0].error.is_none());
        let json = serde_json::to_value(&reports[0]).unwrap();
        assert_eq!(json["name"], player.capabilities().name);
        assert!(json["floats"]["f32_div"].is_boolean());
        assert!(json["tier"].as_str().unwrap().starts_with('T'));
    }
}
