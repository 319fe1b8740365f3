//! Where results go and in which form. Rows are written as they arrive; a file gets its name when
//! all went well, so nobody ever reads half a result. On a terminal a table is what there is room
//! for; anywhere else all of it.

pub mod encode;
mod following;
pub mod pager;
pub mod pending;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::args::{Format, Sql};
use super::failure::{Failure, Outcome, Stopped};
use super::view::{self, Expanded, Look, Sample, Screen};
use crate::sql::explain::{Explained, Ran};
use encode::Encoder;
use following::Following;
use pager::{Pager, Paging};
use pending::PendingFile;

/// The results of one script.
pub struct Output {
    format: Format,
    sink: Sink,
    results: usize,
    /// The last that was written is a line above the next result.
    printed: bool,
    /// How tables are drawn.
    pub look: Look,
    /// What shows tables that are longer than the screen.
    pub pager: Option<Pager>,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    File(PendingFile),
}

impl Output {
    /// Errors: the file cannot be made; a binary form would go to a terminal.
    pub fn open(format: Format, path: Option<&Path>) -> Outcome<Self> {
        let sink = match path {
            Some(path) => Sink::File(PendingFile::create(path)?),
            None => Sink::Stdout(BufWriter::new(io::stdout())),
        };
        let binary = matches!(format, Format::Parquet | Format::Arrow);
        if binary && path.is_none() && io::stdout().is_terminal() {
            let message = "this format is binary: name a file with -o, or pipe it on";
            return Err(Failure::failed(message));
        }
        let (look, pager) = (Look::default(), None);
        Ok(Self { format, sink, results: 0, printed: false, look, pager })
    }

    /// As `thalweg sql` is asked to write results.
    pub fn of(arguments: &Sql) -> Outcome<Self> {
        let mut output = Self::open(arguments.format, arguments.output.as_deref())?;
        output.look = Look { types: arguments.types, expanded: arguments.expanded };
        output.pager = Pager::of_environment();
        Ok(output)
    }

    /// Writes all rows of one result; answers how many there were.
    pub async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<u64, Stopped> {
        let encoder = self.start(rows.schema()).map_err(Stopped::Output)?;
        match self.screen().filter(|_| !view::is_plan(&rows.schema())) {
            Some(screen) => self.show(rows, screen).await,
            None => self.encode(rows, encoder).await,
        }
    }

    /// Writes a line of text above the next result. Where results are drawn it is one of them; for
    /// other forms it goes to stderr.
    pub fn print(&mut self, text: &str) -> Outcome {
        if !self.draws() {
            eprintln!("{text}");
            return Ok(());
        }
        self.part()?;
        self.printed = true;
        self.put(format!("{text}\n").as_bytes())
    }

    /// What the terminal has room for, where results go to one as tables.
    fn screen(&self) -> Option<Screen> {
        if self.format != Format::Table || !matches!(self.sink, Sink::Stdout(_)) {
            return None;
        }
        let (columns, lines) = terminal_size::terminal_size_of(io::stdout())?;
        let (columns, lines) = (columns.0.into(), lines.0.into());
        // A terminal that does not know its size says 0.
        (columns > 0 && lines > 0).then_some(Screen { columns, lines })
    }

    /// Shows the rows that a screen has room for, or all of them by the pager.
    async fn show(
        &mut self,
        mut rows: SendableRecordBatchStream,
        screen: Screen,
    ) -> Result<u64, Stopped> {
        let mut sample = Sample::new(rows.schema(), self.look, screen);
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| Stopped::By(error.into()))?;
            count += batch.num_rows() as u64;
            sample.push(&batch);
            if sample.is_cut()
                && let Some(pager) = self.pager.as_ref()
                && let Some(paging) = pager.start()
            {
                let columns = match pager.moves_sideways() {
                    true => usize::MAX,
                    false => screen.columns,
                };
                return page(sample.take(), rows, self.look, paging, columns).await;
            }
            if sample.is_cut() {
                self.pager = None; // there is no such program
            }
        }
        let text = sample.draw().map_err(Failure::from).map_err(Stopped::Output)?;
        self.put(text.as_bytes()).map_err(Stopped::Output)?;
        Ok(count)
    }

    /// Draws the plan of an EXPLAIN; answers how many rows it gave.
    pub async fn explain(
        &mut self,
        mut explained: Explained,
        started: Instant,
    ) -> Result<u64, Stopped> {
        self.part().map_err(Stopped::Output)?;
        let mut ran = None;
        if let Some(mut rows) = explained.rows.take() {
            let mut count = 0;
            while let Some(batch) = rows.next().await {
                count += batch.map_err(|error| Stopped::By(error.into()))?.num_rows() as u64;
            }
            ran = Some(Ran { rows: count, time: started.elapsed() });
        }
        let columns = self.screen().map(|screen| screen.columns);
        let text = view::explained(&explained, ran, columns);
        self.put(text.as_bytes()).map_err(Stopped::Output)?;
        Ok(ran.map_or(0, |ran| ran.rows))
    }

    /// Whether results are drawn for a person to read, and plans with them.
    pub fn draws(&self) -> bool {
        self.format == Format::Table
    }

    /// The same for rows that come over time: each is written when it is there.
    pub async fn follow(&mut self, rows: SendableRecordBatchStream) -> Result<u64, Stopped> {
        let mut encoder = self.start(rows.schema()).map_err(Stopped::Output)?;
        if self.format == Format::Table {
            let columns = self.screen().map(|screen| screen.columns);
            encoder = Box::new(Following::new(rows.schema(), columns));
        }
        self.encode(rows, encoder).await
    }

    async fn encode(
        &mut self,
        mut rows: SendableRecordBatchStream,
        mut encoder: Box<dyn Encoder>,
    ) -> Result<u64, Stopped> {
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| Stopped::By(error.into()))?;
            count += batch.num_rows() as u64;
            let bytes = encoder.write(&batch).map_err(Failure::from).map_err(Stopped::Output)?;
            self.put(&bytes).map_err(Stopped::Output)?;
        }
        let rest = encoder.finish().map_err(Failure::from).map_err(Stopped::Output)?;
        self.put(&rest).map_err(Stopped::Output)?;
        Ok(count)
    }

    /// Gives a file its name. Without it, the file is removed.
    pub fn finish(self) -> Outcome {
        match self.sink {
            Sink::Stdout(_) => Ok(()),
            Sink::File(file) => file.persist(),
        }
    }

    /// Whether all there is to write is one table.
    pub fn is_binary(&self) -> bool {
        matches!(self.format, Format::Parquet | Format::Arrow)
    }

    fn start(&mut self, schema: SchemaRef) -> Outcome<Box<dyn Encoder>> {
        if self.results > 0 && self.is_binary() {
            return Err(Failure::failed(
                "a parquet or arrow output holds one result and the script has several: \
                 use one query, or COPY (..) TO 'file' for each",
            ));
        }
        self.part()?;
        let seekable = matches!(self.sink, Sink::File(_));
        if self.draws() && self.look.expanded {
            return Ok(Box::new(Expanded::default()));
        }
        Ok(encode::encoder(self.format, schema, seekable)?)
    }

    /// An empty line between two results, and above what is printed of the next.
    fn part(&mut self) -> Outcome {
        self.results += 1;
        let printed = std::mem::take(&mut self.printed);
        match self.results > 1 && !printed && !self.is_binary() {
            true => self.put(b"\n"),
            false => Ok(()),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Outcome {
        match &mut self.sink {
            // Rows are seen when they are there, not when a buffer is full.
            Sink::Stdout(stdout) => {
                stdout.write_all(bytes)?;
                stdout.flush()?;
                Ok(())
            }
            Sink::File(file) => file.put(bytes),
        }
    }
}

/// Shows these rows and those that follow by a pager.
async fn page(
    first: Vec<RecordBatch>,
    mut rows: SendableRecordBatchStream,
    look: Look,
    mut paging: Paging,
    columns: usize,
) -> Result<u64, Stopped> {
    let mut encoder: Box<dyn Encoder> = match look.expanded {
        true => Box::new(Expanded::default()),
        false => Box::new(Following::new(rows.schema(), Some(columns))),
    };
    let mut count = 0;
    let mut first = first.into_iter();
    let mut enough = false;
    while !enough {
        let batch = match first.next() {
            Some(batch) => batch,
            None => match rows.next().await {
                Some(batch) => batch.map_err(|error| Stopped::By(error.into()))?,
                None => break,
            },
        };
        count += batch.num_rows() as u64;
        let bytes = encoder.write(&batch).map_err(Failure::from).map_err(Stopped::Output)?;
        // Who leaves the pager has seen enough, of this result.
        enough = paging.write_all(&bytes).is_err();
    }
    let rest = encoder.finish().map_err(Failure::from).map_err(Stopped::Output)?;
    let _ = paging.write_all(&rest);
    Ok(count)
}
