//! What was measured as a picture: for each kernel a small chart of rows a second over rows, both
//! on scales of powers of ten.

use std::fmt::Write;

use super::measured::Measured;
use crate::device::Player;

const COLUMNS: usize = 4;
const WIDTH: f64 = 230.0;
const HEIGHT: f64 = 170.0;

/// Room for the text around a chart's lines.
const LEFT: f64 = 44.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 26.0;

const CPU: &str = "#4477aa";
const GPU: &str = "#ee6677";

/// An SVG of all charts.
pub fn draw(all: &[Measured], player: &dyn Player) -> String {
    let mut kernels: Vec<(&str, &str)> = Vec::new();
    for one in all {
        let kernel = (one.case.family, one.case.name);
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    let scale = Scale::of(all);
    let lines = kernels.len().div_ceil(COLUMNS);
    let (width, height) = (COLUMNS as f64 * WIDTH, lines as f64 * HEIGHT + 40.0);
    let mut svg = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"13\">Million rows a second over rows: \
         <tspan fill=\"{CPU}\">CPU</tspan>, <tspan fill=\"{GPU}\">{}</tspan></text>",
        escaped(&player.capabilities().name)
    );
    for (at, kernel) in kernels.iter().enumerate() {
        let (x, y) = ((at % COLUMNS) as f64 * WIDTH, (at / COLUMNS) as f64 * HEIGHT + 40.0);
        let of: Vec<_> = all.iter().filter(|m| (m.case.family, m.case.name) == *kernel).collect();
        let _ = writeln!(svg, "<g class=\"kernel\" transform=\"translate({x} {y})\">");
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{}: {}</text>",
            escaped(kernel.0),
            escaped(kernel.1)
        );
        scale.frame(&mut svg);
        scale.line(&mut svg, CPU, of.iter().map(|m| (m.rows as f64, m.rate(m.cpu))));
        scale.line(&mut svg, GPU, of.iter().map(|m| (m.rows as f64, m.rate(m.gpu))));
        let _ = writeln!(svg, "</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Powers of ten that hold everything, of rows and of million rows a second.
struct Scale {
    rows: (f64, f64),
    rates: (f64, f64),
}

impl Scale {
    fn of(all: &[Measured]) -> Self {
        let powers = |values: Vec<f64>| {
            let logs = || values.iter().map(|value| value.max(1e-9).log10());
            let (low, high) = (logs().fold(f64::MAX, f64::min), logs().fold(f64::MIN, f64::max));
            let low = low.floor();
            (low, high.ceil().max(low + 1.0))
        };
        let rates = all.iter().flat_map(|m| [m.rate(m.cpu), m.rate(m.gpu)]).collect();
        let rows = all.iter().map(|m| m.rows as f64).collect();
        Self { rows: powers(rows), rates: powers(rates) }
    }

    fn x(&self, rows: f64) -> f64 {
        let (low, high) = self.rows;
        LEFT + (rows.max(1.0).log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, rate: f64) -> f64 {
        let (low, high) = self.rates;
        let part = (rate.max(1e-9).log10() - low) / (high - low);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    /// Lines and numbers at the powers of ten.
    fn frame(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for power in self.rates.0 as i32..=self.rates.1 as i32 {
            let y = self.y(10_f64.powi(power));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 4.0,
                y + 3.0,
                short(10_f64.powi(power) * 1e6)
            );
        }
        for power in self.rows.0 as i32..=self.rows.1 as i32 {
            let x = self.x(10_f64.powi(power));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#eee\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                short(10_f64.powi(power))
            );
        }
    }

    fn line(&self, svg: &mut String, colour: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (at, (rows, rate)) in points.enumerate() {
            let (x, y) = (self.x(rows), self.y(rate));
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
}

/// A number such as 10k or 1M.
fn short(number: f64) -> String {
    match number {
        number if number >= 1e9 => format!("{:.0}G", number / 1e9),
        number if number >= 1e6 => format!("{:.0}M", number / 1e6),
        number if number >= 1e3 => format!("{:.0}k", number / 1e3),
        number => format!("{number:.0}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
