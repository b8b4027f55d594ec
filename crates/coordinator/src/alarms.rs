//! `alarms`: what must not be, and has happened to money all the same; and who has looked.

use payfleet_runtime::exit::ExitCode;
use payfleet_store::{AlarmRow, Store};
use time::format_description::well_known::Rfc3339;

use crate::cli::{AlarmAnswerArgs, AlarmsListArgs};
use crate::failure::Failure;
use crate::people::who;
use crate::show;

/// `alarms list`.
pub async fn list(store: &Store, args: &AlarmsListArgs) -> Result<ExitCode, Failure> {
    let alarms = store.alarms_list(args.all, args.list.limit).await?;
    if args.list.json {
        let alarms: Vec<_> = alarms.iter().map(json).collect();
        show::print_json(&serde_json::json!({ "alarms": alarms }))?;
        return Ok(ExitCode::Done);
    }
    if alarms.is_empty() {
        show::print(if args.all { "no alarm was ever raised\n" } else { "no alarm waits for an answer\n" });
        return Ok(ExitCode::Done);
    }
    let mut table = show::table(&["id", "tenant", "run", "payout", "alarm", "about", "since", "answer"]);
    for alarm in &alarms {
        table.add_row([
            show::number(alarm.id),
            comfy_table::Cell::new(&alarm.tenant_name),
            show::number(alarm.run),
            alarm.payout.map_or_else(|| comfy_table::Cell::new("-"), show::number),
            comfy_table::Cell::new(alarm.kind),
            comfy_table::Cell::new(&alarm.words),
            comfy_table::Cell::new(show::instant(alarm.raised_at)),
            comfy_table::Cell::new(
                alarm.answer.as_ref().map_or("-".to_owned(), |(by, words)| format!("{by}: {words}")),
            ),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}

fn json(alarm: &AlarmRow) -> serde_json::Value {
    let answer = alarm.answer.as_ref().map(|(by, words)| serde_json::json!({ "by": by, "words": words }));
    serde_json::json!({
        "id": alarm.id, "tenant": alarm.tenant_name, "run": alarm.run.0, "payout": alarm.payout.map(|payout| payout.0),
        "alarm": alarm.kind.as_str(), "about": alarm.words, "raised_at": alarm.raised_at.format(&Rfc3339).ok(),
        "answer": answer,
    })
}

/// `alarms answer`.
pub async fn answer(store: &Store, args: &AlarmAnswerArgs) -> Result<ExitCode, Failure> {
    let by = store.alarm_answer(args.alarm, &args.words, who(&args.who)?).await?;
    show::print(&format!("alarm {} is answered by {by}\n", args.alarm));
    Ok(ExitCode::Done)
}
