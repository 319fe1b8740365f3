//! `thalweg devices` and `thalweg calibrate`: what adapters this machine has and how fast they are.

use std::io::Write;

use super::failure::{Failure, Outcome};
use crate::device::StagingKind;
use crate::device::rates::{self, Rates};
use crate::device::report::{AdapterReport, report};
use crate::device::staging;
use crate::device::{AdapterKind, calibrate};
use crate::error::{DeviceError, Error};

/// Lists the adapters; measures them where no calibration has left their rates.
pub async fn list(json: bool) -> Outcome {
    let refused = |error: DeviceError| Failure::from(Error::from(error));
    let mut reports = report(false).await.map_err(refused)?;
    if reports.iter().any(|report| report.rates.is_none() && report.error.is_none()) {
        reports = report(true).await.map_err(refused)?;
    }
    let mut out = std::io::stdout();
    if json {
        let text = serde_json::to_string_pretty(&reports);
        writeln!(out, "{}", text.map_err(|error| Failure::failed(error.to_string()))?)?;
        return Ok(());
    }
    if reports.is_empty() {
        eprintln!("no adapter: install a driver for Vulkan, or run with --device cpu");
    }
    for report in &reports {
        write!(out, "{}", text(report))?;
    }
    Ok(())
}

/// Measures all adapters and keeps the rates.
pub async fn calibrate() -> Outcome {
    for kept in calibrate::calibrate().await? {
        println!("{} ({}): {}", kept.adapter, kept.driver, rates_text(&kept.rates));
        print!("{}", details_text(&kept.rates));
    }
    if let Some(path) = rates::cache_file() {
        eprintln!("kept in {}", path.display());
    }
    Ok(())
}

fn text(report: &AdapterReport) -> String {
    let of = &report.capabilities;
    let preferred = if report.preferred { " (taken unless --adapter names another)" } else { "" };
    let kind = match of.kind {
        AdapterKind::Discrete => "a card",
        AdapterKind::Integrated => "in the processor",
        AdapterKind::Software => "software: right, never fast; auto does not take it",
        AdapterKind::Other => "of unknown kind",
    };
    let mib = |bytes: u64| bytes >> 20;
    let state = match (&report.error, &report.rates) {
        (Some(error), _) => format!("cannot be used: {error}"),
        (None, Some(rates)) => rates_text(rates),
        (None, None) => "not measured".to_string(),
    };
    format!(
        "{}{preferred}\n  {} {}, {kind}\n  tier {:?}, buffers to {} MiB, bindings to {} MiB, {} \
         of them\n  {state}\n",
        of.name,
        of.backend,
        of.driver,
        of.tier,
        mib(of.max_buffer_bytes),
        mib(of.max_binding_bytes),
        of.max_bindings,
    )
}

/// What copies within the device and uploads depend on, a line each.
fn details_text(rates: &Rates) -> String {
    let mut text = String::new();
    if let (Some(command), Some(cold)) = (rates.copy_command_gb_s, rates.copy_cold_gb_s) {
        let kernel = rates.copy_gb_s;
        text += &format!("  copies by a kernel {kernel:.1} GB/s, after a pause {cold:.1}");
        text += &format!(", by the driver {command:.1}\n");
    }
    let taken = staging::fastest(&rates.staging);
    for kind in StagingKind::ALL {
        let of_kind = rates.staging.iter().filter(|rate| rate.kind == kind);
        let by_threads: Vec<String> = of_kind
            .map(|rate| match rate.threads {
                1 => format!("{:.1} GB/s by 1 thread", rate.upload_gb_s),
                threads => format!("{:.1} by {threads}", rate.upload_gb_s),
            })
            .collect();
        if !by_threads.is_empty() {
            let chosen = if kind == taken { " (taken)" } else { "" };
            let by_threads = by_threads.join(", ");
            text += &format!("  uploads through {kind} memory{chosen}: {by_threads}\n");
        }
    }
    text
}

fn rates_text(rates: &Rates) -> String {
    format!(
        "up {:.1} GB/s, down {:.1} GB/s, copy {:.1} GB/s, round trip {:.0} us",
        rates.upload_gb_s, rates.download_gb_s, rates.copy_gb_s, rates.round_trip_us
    )
}
