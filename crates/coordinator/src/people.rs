//! `people`: who may look, steer, decide and manage people. Tokens are made here, shown once, and kept by nobody.

use payfleet_domain::{Person, TokenHash};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::secret::{Secret, TokenArgs};
use payfleet_store::Store;
use time::format_description::well_known::Rfc3339;

use crate::cli::{PeopleAddArgs, PeopleListArgs, PeopleReplaceArgs, PersonArgs};
use crate::failure::Failure;
use crate::rails::tenant;
use crate::show;

/// The token of whoever gives the command, as the store knows it.
pub fn who(args: &TokenArgs) -> Result<TokenHash, Failure> {
    recognised(&args.token()?)
}

fn recognised(token: &Secret) -> Result<TokenHash, Failure> {
    TokenHash::of(token.expose()).map_err(|error| Failure::usage(format!("PAYFLEET_TOKEN: {error}")))
}

/// A new token, and what is kept of it.
fn new_token() -> Result<(String, TokenHash), Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::broken(format!("the operating system gives no random bytes: {error}")))?;
    Ok(TokenHash::of_new(random))
}

/// The token alone on stdout, so that it can be sent into a file; the rest on stderr.
fn hand_over(person: &Person, token: &str, what: &str) {
    show::print(&format!("{token}\n"));
    eprintln!("{} {what}: {}; this token is shown only now, and is theirs alone", person.name, person.role);
}

/// `people add`.
pub async fn add(store: &Store, args: &PeopleAddArgs) -> Result<ExitCode, Failure> {
    let by = args.who.given()?.as_ref().map(recognised).transpose()?;
    let tenant = match &args.tenant {
        Some(name) => Some(tenant(store, name).await?),
        None => None,
    };
    let (token, hash) = new_token()?;
    let person = store.person_add(by, args.name.clone(), args.role, tenant, hash).await?;
    hand_over(&person, &token, "was added");
    Ok(ExitCode::Done)
}

/// `people replace`.
pub async fn replace(store: &Store, args: &PeopleReplaceArgs) -> Result<ExitCode, Failure> {
    let by = who(&args.person.who)?;
    let (token, hash) = new_token()?;
    let person = store.person_replace(by, args.person.name.clone(), args.role, hash).await?;
    hand_over(&person, &token, "has a new token, and the old one has ended");
    Ok(ExitCode::Done)
}

/// `people revoke`.
pub async fn revoke(store: &Store, args: &PersonArgs) -> Result<ExitCode, Failure> {
    let person = store.person_revoke(who(&args.who)?, args.name.clone()).await?;
    show::print(&format!("{} has no say any more\n", person.name));
    Ok(ExitCode::Done)
}

/// `people list`.
pub async fn list(store: &Store, args: &PeopleListArgs) -> Result<ExitCode, Failure> {
    let people = store.people_list().await?;
    if args.json {
        let people: Vec<_> = people
            .iter()
            .map(|row| {
                serde_json::json!({
                    "name": row.person.name, "role": row.person.role, "tenant": row.tenant_name,
                    "added_at": row.added_at.format(&Rfc3339).ok(),
                    "revoked_at": row.revoked_at.and_then(|at| at.format(&Rfc3339).ok()),
                })
            })
            .collect();
        show::print_json(&serde_json::json!({ "people": people }))?;
        return Ok(ExitCode::Done);
    }
    if people.is_empty() {
        show::print("there is nobody; `people add NAME --role administrator` makes the first\n");
        return Ok(ExitCode::Done);
    }
    let mut table = show::table(&["name", "role", "tenant", "since", "revoked"]);
    for row in &people {
        table.add_row([
            row.person.name.clone(),
            row.person.role.to_string(),
            row.tenant_name.clone().unwrap_or_else(|| "all".to_owned()),
            show::instant(row.added_at),
            row.revoked_at.map_or("-".to_owned(), show::instant),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}
