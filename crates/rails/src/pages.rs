//! Statements that come page by page, as a stream: the next page is asked for when the one before has been taken.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use payfleet_domain::{Rail, StatementEnd, StatementLine};
use time::OffsetDateTime;

use crate::cause::Cause;
use crate::{StatementError, StatementItem, StatementStream};

/// One page, as far as it concerns payments.
pub(crate) enum Page {
    /// Its lines; more pages follow.
    Lines(Vec<StatementLine>),
    /// The lines of the last one, and how far the statement reaches.
    Last(Vec<StatementLine>, Reach),
}

/// How far a statement reaches, by the rail's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    pub(crate) from: OffsetDateTime,
    pub(crate) until: OffsetDateTime,
    pub(crate) now: OffsetDateTime,
    /// See [`StatementEnd::open_from`].
    pub(crate) open_from: Option<OffsetDateTime>,
}

impl Reach {
    /// Of a rail that does not say how far its books are: as far as a line may be late by its declaration
    /// (`Rail::statement_lag`). To claim more would prove payments to be missing that are listed a moment later, behind
    /// the mark, where nobody reads any more.
    pub(crate) fn less_the_lag(
        rail: &'static str,
        from: OffsetDateTime,
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Reach {
        let lag = Rail::named(rail).map_or(Duration::ZERO, |rail| rail.statement_lag);
        Reach { from, until: until.min(now - lag), now, open_from: None }
    }
}

/// Why a page did not come, or cannot be read.
pub(crate) enum NoPage {
    /// No page.
    Cause(Cause),
    /// An answer other than a page.
    Status(u16),
    /// A line of it, counted from the first of the page.
    Line(usize, &'static str),
}

impl From<Cause> for NoPage {
    fn from(cause: Cause) -> Self {
        NoPage::Cause(cause)
    }
}

/// A statement that is being asked for.
#[async_trait]
pub(crate) trait Pages: Send {
    /// The next page. Not called again after the last one or an error.
    async fn next(&mut self) -> Result<Page, NoPage>;
}

struct Reading<P> {
    rail: &'static str,
    account: String,
    pages: P,
    ready: VecDeque<StatementItem>,
    lines: u64,
    is_last: bool,
}

/// Asks for the first page, so that a denial is told at once, and hands on the lines of all.
pub(crate) async fn open<P: Pages + 'static>(
    rail: &'static str,
    account: &str,
    pages: P,
) -> Result<StatementStream, StatementError> {
    let account = account.to_owned();
    let mut reading = Reading { rail, account, pages, ready: VecDeque::new(), lines: 0, is_last: false };
    reading.take().await?;
    Ok(stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        loop {
            if let Some(item) = reading.ready.pop_front() {
                return Some((Ok(item), Some(reading)));
            }
            if reading.is_last {
                return None;
            }
            if let Err(error) = reading.take().await {
                return Some((Err(error), None));
            }
        }
    })
    .boxed())
}

impl<P: Pages> Reading<P> {
    async fn take(&mut self) -> Result<(), StatementError> {
        let page = self.pages.next().await.map_err(|no| self.error(no))?;
        let (lines, reach) = match page {
            Page::Lines(lines) => (lines, None),
            Page::Last(lines, reach) => (lines, Some(reach)),
        };
        self.lines += lines.len() as u64;
        self.ready.extend(lines.into_iter().map(StatementItem::Line));
        if let Some(Reach { from, until, now, open_from }) = reach {
            self.is_last = true;
            // Reaching into the future would prove payments to be missing that are only under way.
            let until = until.min(now);
            self.ready.push_back(StatementItem::End(StatementEnd { from, until, now, open_from, lines: self.lines }));
        }
        Ok(())
    }

    fn error(&self, no: NoPage) -> StatementError {
        let (rail, account, lines) = (self.rail, self.account.clone(), self.lines);
        let why = match &no {
            NoPage::Cause(cause) => cause.reason(),
            NoPage::Status(_) => "the rail gave no further page",
            NoPage::Line(_, why) => why,
        };
        match (no, lines) {
            (NoPage::Line(at, _), lines) => {
                StatementError::Unreadable { rail, account, line: lines + at as u64 + 1, why }
            }
            (NoPage::Status(status), 0) => StatementError::Denied { rail, account, status },
            (NoPage::Cause(_), 0) => StatementError::Unreachable { rail, account, why },
            (NoPage::Cause(_) | NoPage::Status(_), lines) => StatementError::BrokeOff { rail, account, lines, why },
        }
    }
}
