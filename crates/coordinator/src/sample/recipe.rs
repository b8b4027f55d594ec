//! What the affiliates and commissions of a sample are, each computed from the seed and its number.

use std::str::FromStr;

use payfleet_domain::{Currency, Destination, DestinationKind, Money};
use time::{Date, Duration, Month, OffsetDateTime};

use super::iban::iban;
use super::random::Random;
use crate::cli::SampleArgs;

/// Code, share in a hundred, the median sale in minor units, country.
const CURRENCIES: [(&str, u64, u64, &str); 8] = [
    ("EUR", 45, 4_000, "Germany"),
    ("USD", 20, 4_400, "United States"),
    ("GBP", 12, 3_500, "United Kingdom"),
    ("JPY", 8, 6_000, "Japan"),
    ("CHF", 5, 3_900, "Switzerland"),
    ("SEK", 4, 45_000, "Sweden"),
    ("PLN", 3, 17_000, "Poland"),
    ("CAD", 3, 6_000, "Canada"),
];

const FIRST_NAMES: [&str; 16] = [
    "Ada", "Bram", "Chiara", "Dov", "Emre", "Fatou", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Liam", "Mara", "Noor",
    "Olga", "Pavel",
];
const LAST_NAMES: [&str; 16] = [
    "Abel", "Berg", "Costa", "Dahl", "Eder", "Fuchs", "Garcia", "Hansen", "Ito", "Jansen", "Kowalski", "Lopez",
    "Meyer", "Novak", "Okafor", "Petit",
];

/// In a thousand: affiliates without a method, those on hold, those paid by bank transfer, and commissions that are
/// taken back.
const WITHOUT_METHOD: u64 = 5;
const ON_HOLD: u64 = 3;
const BY_BANK: u64 = 300;
const CLAWBACKS: u64 = 50;

/// What [`Random`] numbers are for.
const OF_AFFILIATE: u64 = 1;
const OF_COMMISSIONS: u64 = 2;

/// An affiliate.
pub struct Affiliate {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub email: String,
    /// Where it is.
    pub country: &'static str,
    /// What it earns in.
    pub currency: Currency,
    /// Where it is paid.
    pub method: Option<(&'static str, Destination)>,
    /// Whether it is on hold.
    pub on_hold: bool,
}

/// A commission.
pub struct Commission {
    /// Its id.
    pub id: String,
    /// Whose.
    pub affiliate: String,
    /// What it was earned by.
    pub order_ref: String,
    /// How much; negative is a clawback.
    pub amount: Money,
    /// When, to the second.
    pub earned_at: OffsetDateTime,
}

/// How a sample is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    seed: u64,
    /// How many affiliates there are.
    pub affiliates: u64,
    per_affiliate: u64,
    plain: bool,
    currencies: Vec<(Currency, u64, u64, &'static str)>,
    /// The beginning of each month, and its length.
    months: Vec<(OffsetDateTime, u64)>,
}

impl Recipe {
    /// As the command line says.
    pub fn new(args: &SampleArgs) -> Result<Recipe, String> {
        let count = if args.plain { 1 } else { args.currencies as usize };
        let currencies = CURRENCIES[..count]
            .iter()
            .map(|&(code, share, median, country)| {
                Currency::from_str(code)
                    .map(|currency| (currency, share, median, country))
                    .map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()?;
        let last_day = args.start.cutoff().date();
        let mut first = last_day.replace_day(1).unwrap_or(last_day); // every month has a first day
        let mut months = Vec::new();
        for _ in 0..args.months {
            let next = next_month(first).filter(|next| (1970..3000).contains(&first.year()) && next.year() <= 3000);
            let next = next.ok_or("--start and --months must lie between the years 1970 and 2999")?;
            months.push((first.midnight().assume_utc(), (next - first).whole_seconds().unsigned_abs()));
            first = next;
        }
        Ok(Recipe {
            seed: args.seed,
            affiliates: args.affiliates,
            per_affiliate: args.commissions_per_affiliate.into(),
            plain: args.plain,
            currencies,
            months,
        })
    }

    /// The affiliate with this number.
    pub fn affiliate(&self, number: u64) -> Affiliate {
        let mut random = Random::new(self.seed, OF_AFFILIATE, number);
        let &(currency, _, _, country) = self.currency(&mut random);
        let (first, last) = (*random.one_of(&FIRST_NAMES), *random.one_of(&LAST_NAMES));
        let email = format!("{}.{}.{number}@example.com", first.to_lowercase(), last.to_lowercase());
        let by_bank = random.happens(BY_BANK) && !self.plain;
        let method = match () {
            () if random.happens(WITHOUT_METHOD) && !self.plain => None,
            () if by_bank => Some(("sepa", iban(&mut random))),
            () => Some(("paypal", email.clone())),
        };
        // What is made here is right for its method; else it would be somebody without one.
        let method =
            method.and_then(|(method, text)| Some((method, DestinationKind::of_method(method).check(&text).ok()?)));
        Affiliate {
            id: affiliate_id(number),
            name: format!("{first} {last}"),
            email,
            country,
            currency,
            method,
            on_hold: random.happens(ON_HOLD) && !self.plain,
        }
    }

    /// The commissions of the affiliate with this number, in no order of time.
    pub fn commissions(&self, number: u64) -> impl Iterator<Item = Commission> {
        // The same first step as for the affiliate, so that it earns in its own currency.
        let &(currency, _, median, _) = self.currency(&mut Random::new(self.seed, OF_AFFILIATE, number));
        let mut random = Random::new(self.seed, OF_COMMISSIONS, number);
        let count = match self.per_affiliate {
            1 => 1,
            mean => 1 + random.below(2 * mean - 1), // 1 to 2 x mean - 1
        };
        (1..=count).map(move |nth| {
            let &(begin, secs) = random.one_of(&self.months);
            let earned_at = begin + Duration::seconds(random.below(secs).cast_signed());
            let amount = random.around(median).max(1).cast_signed();
            let minor = match self.plain {
                true => 2_000 + amount, // above any usual minimum
                false if random.happens(CLAWBACKS) => -amount,
                false => amount,
            };
            Commission {
                id: format!("C{number:09}-{nth:04}"),
                affiliate: affiliate_id(number),
                order_ref: format!("SO-{:010x}", random.bits() >> 24),
                amount: Money { minor, currency },
                earned_at,
            }
        })
    }

    fn currency(&self, random: &mut Random) -> &(Currency, u64, u64, &'static str) {
        let all = self.currencies.iter().map(|(_, share, ..)| share).sum();
        let mut place = random.below(all);
        self.currencies
            .iter()
            .find(|(_, share, ..)| {
                let found = place < *share;
                place = place.saturating_sub(*share);
                found
            })
            .unwrap_or(&self.currencies[0]) // cannot happen: the place is below the sum of the shares
    }
}

fn affiliate_id(number: u64) -> String {
    format!("A{number:09}")
}

fn next_month(first: Date) -> Option<Date> {
    let year = first.year() + i32::from(first.month() == Month::December);
    Date::from_calendar_date(year, first.month().next(), 1).ok()
}
