//! What Wise says unasked [W2, W10]: each change of a transfer's state, and what came back.

use super::render::{self, Raw, object, raw};
use super::state::Transfer;
use super::timeline::State;
use crate::core::Core;
use crate::dialect::hooks::Notice;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// Made up, and always the same.
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-000000000001";

/// Has everything told that follows for a transfer from this instant on.
pub fn announce(core: &mut Core, id: u64, from: At) {
    if !core.dialects.is_heard(Shape::Wise) {
        return;
    }
    let Some(transfer) = core.dialects.wise.transfer(id).cloned() else { return };
    let mut previous: Option<State> = None;
    for (at, state) in transfer.steps.clone() {
        if at >= from {
            let resource = object(&resource(&transfer));
            tell(core, &transfer, "transfers#state-change", resource, state, previous, at);
        }
        previous = Some(state);
    }
}

fn resource(transfer: &Transfer) -> Vec<(&'static str, Raw)> {
    vec![
        ("id", raw(transfer.id)),
        ("profile_id", raw(transfer.profile.parse::<u64>().ok())),
        ("account_id", raw(transfer.target_account)),
        ("type", raw("transfer")),
    ]
}

/// Has it told that money came back, or that a transfer was made again.
pub fn told_return(core: &mut Core, movement: &Movement<'_>) {
    if !core.dialects.is_heard(Shape::Wise) {
        return;
    }
    if movement.event == Event::Paid {
        let id = movement.id.parse().unwrap_or_default();
        announce(core, id, movement.at);
        return;
    }
    let Some(transfer) = movement.of.and_then(|line| core.dialects.wise.transfer_of(line)).cloned() else { return };
    let mut resource = resource(&transfer);
    // The names of these two are unverified.
    resource.push(("refund_amount", render::amount(transfer.back(movement.amount_minor), &transfer.source)));
    resource.push(("refund_currency", raw(&transfer.source)));
    let (state, previous) = (State::FundsRefunded, Some(State::Cancelled));
    tell(core, &transfer, "transfers#refund", object(&resource), state, previous, movement.at);
    let plain = object(&self::resource(&transfer));
    tell(core, &transfer, "transfers#state-change", plain, state, previous, movement.at);
}

fn tell(
    core: &mut Core,
    transfer: &Transfer,
    event: &str,
    resource: Raw,
    state: State,
    previous: Option<State>,
    at: At,
) {
    let data = object(&[
        ("resource", resource),
        ("current_state", raw(state.name())),
        ("previous_state", raw(previous.map(State::name))),
        ("occurred_at", raw(at.seconds())),
    ]);
    let body = object(&[
        ("data", data),
        ("subscription_id", raw(SUBSCRIPTION)),
        ("event_type", raw(event)),
        ("schema_version", raw("2.0.0")),
        ("sent_at", raw(at.seconds())),
    ]);
    core.dialects.notices.push(Notice {
        shape: Shape::Wise,
        due: at,
        id: uuid::Uuid::new_v4().to_string(),
        about: Some(transfer.id.to_string()),
        body: body.get().to_owned(),
        tries: 0,
        is_extra: false,
    });
}
