//! Linking is concatenation: parts of WGSL become one text, and a line of it is told by the file
//! it came from. Never parses WGSL.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::device::{AdapterKind, Capabilities, Tier};
use crate::expr::parts;
use crate::record::{Access, Code, Program, Twin};

/// Joins parts, each named by its path under `shaders/` without the extension, such as
/// `lib/grid`, or in angle brackets where no file holds it, such as `<predicate>`. Their `enable`
/// and `requires` lines, which WGSL wants first, come before all else and are blanked in place.
///
/// Returns the text and, for `Program::parts`, the first line of each part, counted from 1.
pub fn link(parts: &[(&str, &str)]) -> (String, Vec<(usize, String)>) {
    let mut directives: Vec<&str> = Vec::new();
    for line in parts.iter().flat_map(|(_, text)| text.lines()).filter(|line| is_directive(line)) {
        if !directives.contains(&line.trim()) {
            directives.push(line.trim());
        }
    }
    let mut linked = String::new();
    for directive in &directives {
        linked.push_str(directive);
        linked.push('\n');
    }
    let mut first_lines = Vec::with_capacity(parts.len());
    let mut next_line = directives.len() + 1;
    for (name, text) in parts {
        first_lines.push((next_line, (*name).to_string()));
        for line in text.lines() {
            linked.push_str(if is_directive(line) { "" } else { line });
            linked.push('\n');
            next_line += 1;
        }
    }
    (linked, first_lines)
}

fn is_directive(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("enable ") || line.starts_with("requires ")
}

/// The text of a part: `embedded`, or what `$THALWEG_SHADERS/NAME.wgsl` holds now, so that a
/// kernel can be tried without a build.
pub fn part<'a>(name: &str, embedded: &'a str) -> Cow<'a, str> {
    let Some(folder) = std::env::var_os("THALWEG_SHADERS") else { return embedded.into() };
    let path = Path::new(&folder).join(format!("{name}.wgsl"));
    match std::fs::read_to_string(&path) {
        Ok(text) => text.into(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "using the embedded shader");
            embedded.into()
        }
    }
}

/// A hand-written shader.
pub struct Kernel {
    /// The stem of its files.
    pub name: &'static str,
    pub wgsl: &'static str,
    /// Parts under `shaders/` it is linked with, besides the numbers of the tier.
    pub parts: &'static [&'static str],
    /// Replacements of its text, each of which a parity test must notice.
    pub faults: &'static [(&'static str, &'static str)],
}

/// The part that is linked once for each table that a kernel declares: `tab`, `loc`.
const CELLS: &str = "lib/cells_t0";

/// What stands in place of parts where group tables have cells of 64 bits.
const WIDE_CELLS: &[(&str, &str, &str)] = &[
    ("lib/cell_t0", "lib/cell_t3", include_str!("../../../shaders/lib/cell_t3.wgsl")),
    (CELLS, "lib/cells_t3", include_str!("../../../shaders/lib/cells_t3.wgsl")),
];

/// The part that is made for a pipeline.
pub const GENERATED: &str = "<generated>";

/// Shader parts by name.
const PARTS: &[(&str, &str)] = &[
    ("lib/grid", include_str!("../../../shaders/lib/grid.wgsl")),
    ("lib/hash", include_str!("../../../shaders/lib/hash.wgsl")),
    ("lib/join", include_str!("../../../shaders/lib/join.wgsl")),
    ("lib/slot", include_str!("../../../shaders/lib/slot.wgsl")),
    ("lib/scan", include_str!("../../../shaders/lib/scan.wgsl")),
    ("lib/acc_wide", include_str!("../../../shaders/lib/acc_wide.wgsl")),
    ("lib/cell_t0", include_str!("../../../shaders/lib/cell_t0.wgsl")),
    (CELLS, include_str!("../../../shaders/lib/cells_t0.wgsl")),
    ("lib/float_sum", include_str!("../../../shaders/lib/float_sum.wgsl")),
    ("lib/spill", include_str!("../../../shaders/lib/spill.wgsl")),
    ("lib/place", include_str!("../../../shaders/lib/place.wgsl")),
    ("lib/float_bins", include_str!("../../../shaders/lib/float_bins.wgsl")),
];

/// Links kernels for one adapter.
#[derive(Clone)]
pub struct Linker {
    pub tier: Tier,
    /// Bindings of a kernel at most.
    pub max_bindings: usize,
    /// See `Generator::trips_max`.
    pub trips_max: u32,
    /// Tests plant a fault: kernel, part or `GENERATED`, text, replacement.
    pub fault: Option<(String, String, String)>,
    /// Tests make every key collide: a text in place of `lib/hash`.
    pub hash: Option<String>,
}

impl Linker {
    pub fn new(capabilities: &Capabilities) -> Self {
        // A software rasteriser ends all loops of an invocation after 65,535 trips, in silence:
        // a third of that for matches leaves room for the loops around and inside them.
        let software = capabilities.kind == AdapterKind::Software;
        let trips_max = if software { 20_000 } else { 1 << 20 };
        let (tier, max_bindings) = (capabilities.tier, capabilities.max_bindings as usize);
        Self { tier, max_bindings, trips_max, fault: None, hash: None }
    }

    /// A program: the kernel, its parts, the numbers of the tier, the generated part.
    ///
    /// `floats`: whether the generated part computes with binary32 and binary64.
    pub fn link(
        &self,
        kernel: &Kernel,
        label: String,
        generated: &str,
        floats: (bool, bool),
        bindings: Vec<Access>,
        twin: Twin,
    ) -> Arc<Program> {
        let (linked, lines) = self.text(kernel, generated, floats);
        let code = Arc::new(Code::new(linked, bindings));
        Arc::new(Program { label, code, parts: lines, twin })
    }

    /// The text of a part, with the fault if it is one of this part.
    fn planted<'a>(&self, part: &str, text: Cow<'a, str>) -> Cow<'a, str> {
        match &self.fault {
            Some((name, from, to)) if name == part => text.replace(from.as_str(), to).into(),
            _ => text,
        }
    }

    fn text(
        &self,
        kernel: &Kernel,
        generated: &str,
        floats: (bool, bool),
    ) -> (String, Vec<(usize, String)>) {
        let wgsl = self.planted(kernel.name, part(kernel.name, kernel.wgsl));
        let mut texts = parts::parts(self.tier, floats.0, floats.1)
            .into_iter()
            .map(|(name, text)| (name, part(name, text)))
            .collect::<Vec<_>>();
        if !kernel.parts.contains(&"lib/slot") {
            // Nothing is evaluated: no numbers needed.
            texts.clear();
        }
        let table = kernel.wgsl.contains("> tab:");
        for (part, text) in PARTS.iter().filter(|(name, _)| kernel.parts.contains(name)) {
            let wide = WIDE_CELLS.iter().find(|(of, ..)| table && of == part);
            let (name, text) = match wide {
                Some((_, name, text)) if self.tier >= Tier::T3 => (*name, *text),
                _ => (*part, *text),
            };
            let text = self.planted(name, self::part(name, text));
            match &self.hash {
                Some(hash) if name == "lib/hash" => texts.push((name, hash.clone().into())),
                _ if *part == CELLS => {
                    if kernel.wgsl.contains("> loc:") {
                        texts.push((name, for_loc(&text).into()));
                    }
                    if table {
                        texts.push((name, text));
                    }
                }
                _ => texts.push((name, text)),
            }
        }
        texts.push((kernel.name, wgsl));
        texts.push((GENERATED, self.planted(GENERATED, generated.into())));
        let all: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (*name, text.as_ref())).collect();
        link(&all)
    }
}

/// The functions of cells for the workgroup's own table.
fn for_loc(cells: &str) -> String {
    cells.replace("tab_", "loc_").replace("tab[", "loc[")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::place;

    #[test]
    fn every_line_is_told_by_its_file() {
        let (text, parts) =
            link(&[("lib/a", "one\ntwo"), ("<predicate>", "three\n"), ("k", "four\nfive\n")]);
        assert_eq!(text, "one\ntwo\nthree\nfour\nfive\n");
        let places: Vec<_> = (1..=5).map(|line| place(&parts, line)).collect();
        let expected = [
            "shaders/lib/a.wgsl:1",
            "shaders/lib/a.wgsl:2",
            "<predicate>:1",
            "shaders/k.wgsl:1",
            "shaders/k.wgsl:2",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn directives_come_first_once_and_move_no_line() {
        let (text, parts) =
            link(&[("a", "x\n"), ("b", "enable f16;\ny\n"), ("c", "enable f16;\n")]);
        assert_eq!(text, "enable f16;\nx\n\ny\n\n");
        assert_eq!(place(&parts, 4), "shaders/b.wgsl:2");
        assert_eq!(place(&parts, 1), "linked text:1");
    }

    #[test]
    fn an_empty_part_claims_no_line() {
        let (_, parts) = link(&[("a", ""), ("b", "x\n")]);
        assert_eq!(place(&parts, 1), "shaders/b.wgsl:1");
    }
}
