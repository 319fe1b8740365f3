//! The prompt of `thalweg sql`: lines with history, completion and colours; statements that may
//! span lines; Ctrl-C that stops a query and not the program.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, Emacs, FileBackedHistory, Highlighter, KeyCode, KeyModifiers, MenuBuilder,
    Prompt as Look, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu,
    Signal, StyledText, ValidationResult, Validator, default_emacs_keybindings,
};
use tokio::runtime::Runtime;

use super::args::Sql;
use super::complete::{KEYWORDS, Names, SqlCompleter, names};
use super::failure::{Failure, Outcome, Stopped};
use super::interrupt::Interrupt;
use super::lexer::{Kind, is_complete, pieces};
use super::output::Output;
use super::output::pager::Pager;
use super::script::{Script, run_statement};
use crate::sql::Engine;

const HELP: &str = "\
Statements end with ';' and may span lines. Tab completes, Ctrl-R searches the history,
Ctrl-C stops a query, Ctrl-D leaves. SELECT .. FROM stream EMIT CHANGES follows a stream.
Files are tables; in the project's folder:
  SELECT * FROM 'datasets/readings.csv' LIMIT 5;
  SELECT carrier, avg(delay) FROM 'datasets/flights/*.csv' GROUP BY carrier;
  \\d           tables             \\d NAME      a table's columns
  \\x           rows as lists      \\types       types of columns
  \\timing      rows and seconds   \\pager       long results in $PAGER, or less
  \\q           leaves
\\x, \\types, \\timing and \\pager are on or off; each use is the other.";

/// Lines of the history file.
const HISTORY_LINES: usize = 10_000;

const MENU: &str = "completions";

/// Reads and runs statements until the user leaves.
pub fn run(runtime: &Runtime, arguments: Sql) -> Outcome {
    let engine = Engine::new(arguments.device.options())?;
    let known = Names::default();
    let mut editor = editor(&known)?;
    let output = Output::of(&arguments)?;
    let mut session = Session { engine, output, timing: arguments.timing };
    eprintln!("thalweg {}; \\? tells what there is", env!("CARGO_PKG_VERSION"));
    loop {
        *known.lock() = runtime.block_on(names(&session.engine.context));
        let text = match editor.read_line(&Plain) {
            Ok(Signal::Success(text)) => text,
            Ok(Signal::CtrlD) => break,
            Ok(_) => continue,
            Err(error) => return Err(Failure::failed(format!("the terminal: {error}"))),
        };
        let command = text.trim();
        if command == "\\q" || command == "exit" || command == "quit" {
            break;
        }
        match runtime.block_on(session.answer(command)) {
            Ok(()) => {}
            Err(Failure::Failed(message)) => eprintln!("error: {message}"),
            Err(Failure::Interrupted) => eprintln!("stopped"),
            Err(Failure::Closed) => break,
        }
    }
    session.output.finish()
}

struct Session {
    engine: Engine,
    output: Output,
    timing: bool,
}

impl Session {
    async fn answer(&mut self, text: &str) -> Outcome {
        let Some(command) = text.strip_prefix('\\') else { return self.statements(text).await };
        let command = command.trim_end_matches(';');
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("?" | "h" | "help", _) => eprintln!("{HELP}"),
            ("timing", _) => toggle("timing", &mut self.timing),
            ("types", _) => toggle("types", &mut self.output.look.types),
            ("x", _) => toggle("expanded", &mut self.output.look.expanded),
            ("pager", _) => {
                let mut pages = self.output.pager.is_some();
                toggle("pager", &mut pages);
                self.output.pager = pages.then(Pager::usual);
            }
            ("d" | "dt", "") => {
                let sql = "SELECT table_name, table_type FROM information_schema.tables \
                           WHERE table_schema <> 'information_schema' ORDER BY table_name";
                return self.statements(sql).await;
            }
            ("d", name) => return self.statements(&format!("DESCRIBE {name}")).await,
            _ => return Err(Failure::failed(format!("\\{word} is no command; \\? lists them"))),
        }
        Ok(())
    }

    /// Runs statements until one fails or Ctrl-C is pressed.
    async fn statements(&mut self, text: &str) -> Outcome {
        let script = Script { text: text.to_string(), file: None };
        let statements = self.engine.parse(text);
        let statements = statements.map_err(|error| script.blame(error, None, &self.engine))?;
        for statement in statements {
            let started = Instant::now();
            let line = statement.line;
            let interrupt = Interrupt::default();
            let run = run_statement(&self.engine, statement, &mut self.output, &interrupt);
            let Some(done) = interrupt.run(run).await? else { return Err(Failure::Interrupted) };
            let rows = match done {
                Ok(rows) => rows,
                Err(Stopped::By(error)) => {
                    return Err(script.blame(error, Some(line), &self.engine));
                }
                Err(Stopped::Output(failure)) => return Err(failure),
            };
            let seconds = started.elapsed().as_secs_f64();
            if interrupt.told() {
                eprintln!("stopped: {rows} rows in {seconds:.3} s");
                return Ok(());
            }
            if self.timing {
                eprintln!("{rows} rows in {seconds:.3} s");
            }
        }
        Ok(())
    }
}

/// Turns a setting on or off, and says which.
fn toggle(name: &str, setting: &mut bool) {
    *setting = !*setting;
    eprintln!("{name} is {}", if *setting { "on" } else { "off" });
}

fn editor(known: &Names) -> Outcome<Reedline> {
    let mut keys = default_emacs_keybindings();
    let complete = ReedlineEvent::UntilFound(vec![
        ReedlineEvent::Menu(MENU.to_string()),
        ReedlineEvent::MenuNext,
    ]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    let menu = ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU)));
    let mut editor = Reedline::create()
        .with_completer(Box::new(SqlCompleter { names: Arc::clone(known) }))
        .with_menu(menu)
        .with_highlighter(Box::new(Colours))
        .with_validator(Box::new(Ends))
        .with_edit_mode(Box::new(Emacs::new(keys)));
    // Without a place for it, the history lasts as long as the prompt.
    if let Some(path) = history_path() {
        let history = FileBackedHistory::with_file(HISTORY_LINES, path.clone());
        let refused = |error| Failure::failed(format!("history {}: {error}", path.display()));
        editor = editor.with_history(Box::new(history.map_err(refused)?));
    }
    Ok(editor)
}

/// In the user's folder for state, by the conventions of the system.
fn history_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    let folder = state.join("thalweg");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// Enter runs what is complete and opens a line otherwise.
struct Ends;

impl Validator for Ends {
    fn validate(&self, text: &str) -> ValidationResult {
        match is_complete(text) || matches!(text.trim(), "exit" | "quit") {
            true => ValidationResult::Complete,
            false => ValidationResult::Incomplete,
        }
    }
}

/// Colours of the sixteen that every terminal has, so that its own theme holds.
struct Colours;

impl Highlighter for Colours {
    fn highlight(&self, text: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for piece in pieces(text) {
            let keyword = || KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(piece.text));
            let style = match piece.kind {
                Kind::Word if keyword() => Style::new().bold().fg(Color::Blue),
                Kind::Text => Style::new().fg(Color::Green),
                Kind::Number => Style::new().fg(Color::Cyan),
                Kind::Comment => Style::new().dimmed(),
                _ => Style::new(),
            };
            styled.push((style, piece.text.to_string()));
        }
        styled
    }
}

/// `thalweg> `, and as much room before the lines that follow.
struct Plain;

impl Look for Plain {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("thalweg")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("     -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search '{}') ", search.term))
    }
}
