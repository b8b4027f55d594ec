//! What Wise is asked about transfers: by their numbers, or, since nothing can be asked by our UUID, by a list of all
//! that were made lately. One list answers for all payouts of a question.

use payfleet_domain::Reference;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::transfer::{State, Transfer};
use super::{RAIL, Site, Wise, fund, no_answer, recipient_of, statement};
use crate::cause::Cause;
use crate::checks::{read, single};
use crate::transport::Reply;
use crate::{Call, Finding, Instruction};

/// An unfunded transfer lives for 14 days (Wise, "Create a transfer"): so long ago what is looked for may have been
/// made.
pub(super) const LOOKS_BACK: time::Duration = time::Duration::days(16);
/// Transfers on a page, and pages that are read before the question counts as unanswered.
const PAGE: usize = 100;
const PAGES_MAX: usize = 2_000;
/// So often a page is asked for before the question counts as unanswered: of many pages one fails now and then.
const PAGE_TRIES: usize = 3;

/// What a list of all transfers says.
struct List {
    /// For each that was looked for.
    found: Vec<Option<Transfer>>,
    /// The rail's clock when the first page was made.
    at: Option<OffsetDateTime>,
    /// Whether it was read to its end.
    ended: Result<(), Cause>,
}

/// Asks about each payout of the call: by the number of its transfer, where Wise has told it, and about all others
/// together.
pub(super) async fn look_up(wise: &Wise, call: &Call<'_>) -> Vec<Finding> {
    let unnamed: Vec<&Instruction> = call.instructions.iter().filter(|one| one.reference.is_none()).collect();
    let list = match (unnamed.is_empty(), wise.site(call.account)) {
        (true, _) => List { found: Vec::new(), at: None, ended: Ok(()) },
        (false, Ok(site)) => among_all(site, call, &unnamed).await,
        (false, Err(cause)) => List { found: Vec::new(), at: None, ended: Err(cause) },
    };
    if let Err(cause) = &list.ended {
        cause.report(RAIL, call);
    }
    let (mut found, mut findings) = (list.found.into_iter(), Vec::with_capacity(call.instructions.len()));
    let mut is_first = unnamed.is_empty();
    for one in call.instructions {
        let alone = Call { instructions: std::slice::from_ref(one), ..*call };
        let finding = match &one.reference {
            Some(id) => {
                if !is_first {
                    call.pace.turn().await;
                }
                is_first = false;
                by_its_number(wise, &alone, id, false).await
            }
            None => match (found.next().flatten(), &list.ended) {
                (Some(transfer), _) => known(wise, &alone, &transfer, list.at, false).await,
                (None, Ok(())) => Err(Cause::NotFound { at: list.at }.by_the_rails_clock(call)),
                // What it was is said already.
                (None, Err(cause)) => Ok(cause.finding()),
            },
        };
        findings.push(finding.unwrap_or_else(|cause| {
            cause.report(RAIL, &alone);
            cause.finding()
        }));
    }
    findings
}

/// Asks what became of the transfer of the call's one instruction, by its number.
pub(super) async fn follow(wise: &Wise, call: &Call<'_>) -> Result<Finding, Cause> {
    match &single(call)?.reference {
        Some(id) => by_its_number(wise, call, id, true).await,
        None => Ok(Finding::Unanswered),
    }
}

async fn by_its_number(wise: &Wise, call: &Call<'_>, id: &Reference, is_follow: bool) -> Result<Finding, Cause> {
    let (site, instruction) = (wise.site(call.account)?, single(call)?);
    recipient_of(instruction)?;
    let (transfer, at) = wise.by_number(site, call, id, site.transport.budget()).await?;
    known(wise, call, &transfer, at, is_follow).await
}

/// What a transfer says of the call's one instruction.
async fn known(
    wise: &Wise,
    call: &Call<'_>,
    transfer: &Transfer,
    at: Option<OffsetDateTime>,
    is_follow: bool,
) -> Result<Finding, Cause> {
    let (site, instruction) = (wise.site(call.account)?, single(call)?);
    transfer.check(instruction, recipient_of(instruction)?)?;
    match transfer.state() {
        State::Refunded => statement::refund(site, call, transfer, at).await.map(Finding::Known),
        _ if transfer.is_cancelled() => statement::cancelled(site, call, transfer, at).await.map(Finding::Known),
        _ => told(call, transfer, at, is_follow),
    }
}

/// All transfers that may be those that are asked about are gone through, as far as Wise answers. (Wise, "List
/// transfers": without `profile` it lists those of somebody else.)
async fn among_all(site: &Site, call: &Call<'_>, asked: &[&Instruction]) -> List {
    let mut list = List { found: asked.iter().map(|_| None).collect(), at: None, ended: Ok(()) };
    list.ended = read_on(site, call, asked, &mut list.found, &mut list.at).await;
    list
}

async fn read_on(
    site: &Site,
    call: &Call<'_>,
    asked: &[&Instruction],
    found: &mut [Option<Transfer>],
    first_at: &mut Option<OffsetDateTime>,
) -> Result<(), Cause> {
    let format = |at: OffsetDateTime| {
        let whole = at.replace_nanosecond(0).unwrap_or(at);
        whole.format(&Rfc3339).map_err(|_| Cause::Unfit("an instant without a form"))
    };
    let now = OffsetDateTime::now_utc();
    let since = match call.expires_at > OffsetDateTime::UNIX_EPOCH {
        true => call.expires_at - LOOKS_BACK,
        // When the requests were made is not said: what is not among these is not known to be nowhere.
        false => now - time::Duration::days(400),
    };
    let until = call.expires_at.max(now) + time::Duration::DAY;
    let (since, until) = (format(since)?, format(until)?);
    for page in 0..PAGES_MAX {
        if page > 0 {
            call.pace.turn().await;
        }
        let (reply, transfers, is_last) = page_of(site, call, page * PAGE, [&since, &until]).await?;
        if page == 0 {
            *first_at = reply.at;
        }
        for transfer in transfers {
            let place = asked.iter().position(|one| transfer.is_of(one));
            if let Some(slot) = place.and_then(|place| found.get_mut(place)).filter(|slot| slot.is_none()) {
                *slot = Some(transfer);
            }
        }
        if is_last || found.iter().all(Option::is_some) {
            return Ok(());
        }
    }
    Err(Cause::Contradictory("there are more transfers than can be gone through"))
}

/// One page, asked for again if it has no answer: it is a question, and moves nothing.
async fn page_of(
    site: &Site,
    call: &Call<'_>,
    offset: usize,
    [since, until]: [&String; 2],
) -> Result<(Reply, Vec<Transfer>, bool), Cause> {
    let (limit, offset) = (PAGE.to_string(), offset.to_string());
    let query = [
        ("profile", site.profile.as_str()),
        ("createdDateStart", since),
        ("createdDateEnd", until),
        ("limit", &limit),
        ("offset", &offset),
    ];
    let mut tries = 0;
    loop {
        tries += 1;
        let request = site.asked(site.transport.get_query(&["v1", "transfers"], &query), call.account)?;
        let reply = site.transport.exchange(request, PAGE).await;
        match reply.and_then(|reply| listed(&reply).map(|(transfers, is_last)| (reply, transfers, is_last))) {
            Err(Cause::ServerError(_) | Cause::RateLimited | Cause::TimedOut | Cause::Broken | Cause::Unconnected)
                if tries < PAGE_TRIES =>
            {
                call.pace.turn().await;
            }
            page => return page,
        }
    }
}

/// The transfers on a page of all of them, and whether the page is the last one.
pub(crate) fn listed(reply: &Reply) -> Result<(Vec<Transfer>, bool), Cause> {
    if reply.status != 200 {
        return Err(no_answer(reply));
    }
    let transfers: Vec<Transfer> = read(&reply.body)?;
    let is_last = transfers.len() < PAGE;
    Ok((transfers, is_last))
}

/// What a transfer that is the one that was ordered says, unless it was refunded: how much came back is told elsewhere.
pub(crate) fn told(
    call: &Call<'_>,
    transfer: &Transfer,
    at: Option<OffsetDateTime>,
    is_follow: bool,
) -> Result<Finding, Cause> {
    if transfer.state() == State::Waiting {
        // It waits for its funding, which has not come; whether it can still come is said by the rail's clock.
        if !is_follow {
            return Err(Cause::NotFound { at }.by_the_rails_clock(call));
        }
        fund::waits_for_a_person(call, transfer);
    }
    transfer.outcome().map(Finding::Known)
}
