//! A sample as the two files that `import` reads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use payfleet_runtime::exit::ExitCode;
use time::OffsetDateTime;

use super::recipe::Recipe;
use crate::{progress, show};

/// How often the bar moves.
const BAR_STEP: u64 = 1_000;

/// Writes both files. Each appears under its name when it is complete.
pub fn write(recipe: &Recipe, folder: &Path) -> io::Result<ExitCode> {
    fs::create_dir_all(folder)?;
    let commissions = write_both(recipe, folder)?;
    show::print(&format!(
        "{} affiliates, {commissions} commissions: sample_affiliates.csv and sample_commissions.csv in {}\n",
        recipe.affiliates,
        folder.display()
    ));
    Ok(ExitCode::Done)
}

fn write_both(recipe: &Recipe, folder: &Path) -> io::Result<u64> {
    let part = |name: &str| folder.join(format!(".{name}.part"));
    let names = ["sample_affiliates.csv", "sample_commissions.csv"];
    let mut affiliates = BufWriter::new(File::create(part(names[0]))?);
    let mut commissions = BufWriter::new(File::create(part(names[1]))?);
    writeln!(affiliates, "affiliate_id,name,email,country,currency,method,destination,on_hold")?;
    writeln!(commissions, "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind")?;
    let bar = progress::steps(recipe.affiliates, "writing");
    let mut count = 0;
    for number in 1..=recipe.affiliates {
        let one = recipe.affiliate(number);
        let (method, destination) =
            one.method.as_ref().map_or(("", ""), |(method, destination)| (method, destination.as_str()));
        writeln!(
            affiliates,
            "{},{},{},{},{},{method},{destination},{}",
            one.id, one.name, one.email, one.country, one.currency, one.on_hold
        )?;
        for one in recipe.commissions(number) {
            let amount = show::amount(one.amount.minor.into(), one.amount.currency);
            let kind = if one.amount.minor < 0 { "clawback" } else { "sale" };
            write!(commissions, "{},{},{},{amount},{},", one.id, one.affiliate, one.order_ref, one.amount.currency)?;
            instant(&mut commissions, one.earned_at)?;
            writeln!(commissions, ",{kind}")?;
            count += 1;
        }
        if number % BAR_STEP == 0 {
            bar.set_position(number);
        }
    }
    affiliates.flush()?;
    commissions.flush()?;
    bar.finish_and_clear();
    for name in names {
        fs::rename(part(name), folder.join(name))?;
    }
    Ok(count)
}

/// RFC 3339, to the second.
fn instant(out: &mut impl Write, at: OffsetDateTime) -> io::Result<()> {
    let (date, time) = (at.date(), at.time());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = time.as_hms();
    write!(out, "{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", date.year())
}
