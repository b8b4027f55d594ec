//! Faults to plant, one payout or affiliate each, and what must be found of each.

use payfleet_domain::{DiscrepancyKind as Kind, Movement, PayoutId, StatementLine};

use crate::world::{Named, World};

/// What a fault needs to be planted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Paid,
    Refused,
    /// An excluded affiliate.
    Excluded,
    /// Nothing of ours.
    Anywhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    SecondPayment,
    RepeatedLine,
    SecondPaymentToldByAnswer,
    SecondPaymentToldTwice,
    SecondPaymentCameBack,
    LineMissing,
    Amount,
    Currency,
    CurrencyInSmallLetters,
    Destination,
    DestinationSpelledOtherwise,
    Reference,
    AmountAndSecondPayment,
    ReturnedHere,
    ReturnedThere,
    ReturnedOnBothSides,
    ReturnedThereOfAnotherAmount,
    ReturnedUnderItsOwnName,
    ReturnedLessAFee,
    ReturnedTooMuch,
    ReturnedInAnotherCurrency,
    ReturnedBeforeItWasPaid,
    SettleMissing,
    ReserveOfAnotherAmount,
    TransferInAnotherCurrency,
    BalanceMoved,
    EarnedAfterwards,
    UnknownForLong,
    RefusedButPaid,
    RefusedButPaidByAnswer,
    RefusedButPaidTwice,
    RefusedButReturned,
    ReleaseMissing,
    ExclusionMissing,
    ForeignKey,
    ForgedKey,
    KeyOfNoPayout,
    KeyOfOtherRun,
    ForgedKeyOfOtherRun,
    TransferOfNoPayout,
    AffiliateForgotten,
}

pub const ALL: [Plant; 42] = {
    use Plant::*;
    [
        Nothing,
        SecondPayment,
        RepeatedLine,
        SecondPaymentToldByAnswer,
        SecondPaymentToldTwice,
        SecondPaymentCameBack,
        LineMissing,
        Amount,
        Currency,
        CurrencyInSmallLetters,
        Destination,
        DestinationSpelledOtherwise,
        Reference,
        AmountAndSecondPayment,
        ReturnedHere,
        ReturnedThere,
        ReturnedOnBothSides,
        ReturnedThereOfAnotherAmount,
        ReturnedUnderItsOwnName,
        ReturnedLessAFee,
        ReturnedTooMuch,
        ReturnedInAnotherCurrency,
        ReturnedBeforeItWasPaid,
        SettleMissing,
        ReserveOfAnotherAmount,
        TransferInAnotherCurrency,
        BalanceMoved,
        EarnedAfterwards,
        UnknownForLong,
        RefusedButPaid,
        RefusedButPaidByAnswer,
        RefusedButPaidTwice,
        RefusedButReturned,
        ReleaseMissing,
        ExclusionMissing,
        ForeignKey,
        ForgedKey,
        KeyOfNoPayout,
        KeyOfOtherRun,
        ForgedKeyOfOtherRun,
        TransferOfNoPayout,
        AffiliateForgotten,
    ]
};

impl Plant {
    pub fn place(self) -> Where {
        use Plant::*;
        match self {
            RefusedButPaid | RefusedButPaidByAnswer | RefusedButPaidTwice | RefusedButReturned | ReleaseMissing => {
                Where::Refused
            }
            ExclusionMissing => Where::Excluded,
            Nothing | ForeignKey | ForgedKey | KeyOfNoPayout | KeyOfOtherRun | ForgedKeyOfOtherRun
            | TransferOfNoPayout | AffiliateForgotten => Where::Anywhere,
            _ => Where::Paid,
        }
    }

    /// Plants it in this payout (or, for an exclusion, this affiliate's number) and says what must be found. `n` keeps
    /// names apart.
    pub async fn plant(self, world: &mut World, target: i64, n: usize) -> Vec<Named> {
        use Plant::*;
        let id = PayoutId(target);
        let at = |world: &World| {
            let named = |line: &StatementLine| line.key.starts_with(&format!("{target}-"));
            world.lines.iter().position(named)
        };
        let own = at(world).map(|place| world.lines[place].clone());
        let line = || own.clone().expect("a paid payout is on the statement");
        let whose = match self.place() {
            Where::Paid | Where::Refused => Some(world.affiliate(id).await),
            Where::Excluded | Where::Anywhere => None,
        };
        let found = |kind| vec![(kind, Some(id), whose.clone())];
        let stray = |payout| vec![(Kind::NeverPlanned, payout, None)];
        let evidence = |reference: String| {
            format!(
                "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
                 SELECT tenant_id, id, 'paid', '{reference}', amount_minor, currency, 'answer' FROM payout
                   WHERE id = {target}"
            )
        };
        match self {
            Nothing => vec![],
            SecondPayment => {
                world.lines.push(StatementLine { reference: format!("second{n}"), ..line() });
                found(Kind::PaidTwice)
            }
            RepeatedLine => {
                // The same line in an overlapping part is the same line.
                world.lines.insert(0, line());
                vec![]
            }
            SecondPaymentToldByAnswer => {
                world.tamper(evidence(format!("second{n}"))).await;
                found(Kind::PaidTwice)
            }
            SecondPaymentToldTwice => {
                world.tamper(evidence(format!("second{n}"))).await;
                world.lines.push(StatementLine { reference: format!("second{n}"), ..line() });
                found(Kind::PaidTwice)
            }
            SecondPaymentCameBack => {
                let second = StatementLine { reference: format!("second{n}"), ..line() };
                world.lines.push(second.clone());
                world.lines.push(StatementLine { movement: Movement::Returned, ..second });
                // The sum is right again.
                vec![]
            }
            LineMissing => {
                world.lines.remove(at(world).unwrap());
                found(Kind::NotOnStatement)
            }
            Amount => {
                let place = at(world).unwrap();
                world.lines[place].amount_minor += 1;
                found(Kind::AmountDiffers)
            }
            Currency => {
                let place = at(world).unwrap();
                world.lines[place].currency = "GBP".to_owned();
                found(Kind::CurrencyDiffers)
            }
            CurrencyInSmallLetters => {
                let place = at(world).unwrap();
                world.lines[place].currency = line().currency.to_lowercase();
                vec![]
            }
            Destination => {
                let place = at(world).unwrap();
                world.lines[place].destination = "mallory@example.com".to_owned();
                found(Kind::DestinationDiffers)
            }
            DestinationSpelledOtherwise => {
                let place = at(world).unwrap();
                world.lines[place].destination = format!(" {} ", line().destination.to_uppercase());
                vec![]
            }
            Reference => {
                let place = at(world).unwrap();
                world.lines[place].reference = format!("other{n}");
                found(Kind::ReferenceDiffers)
            }
            AmountAndSecondPayment => {
                world.lines.push(StatementLine { reference: format!("second{n}"), amount_minor: 1, ..line() });
                [found(Kind::PaidTwice), found(Kind::AmountDiffers)].concat()
            }
            ReturnedHere => {
                // The rail told it, asked with our credential; its statement may be behind.
                world.returned(id, &line().reference).await;
                vec![]
            }
            ReturnedUnderItsOwnName => {
                world.lines.push(StatementLine {
                    movement: Movement::Returned,
                    reference: format!("back{n}"),
                    destination: String::new(),
                    ..line()
                });
                vec![]
            }
            ReturnedLessAFee => {
                let amount_minor = line().amount_minor - 1;
                world.lines.push(StatementLine { movement: Movement::Returned, amount_minor, fee_minor: 1, ..line() });
                vec![]
            }
            ReturnedTooMuch => {
                let amount_minor = line().amount_minor + 1;
                world.lines.push(StatementLine { movement: Movement::Returned, amount_minor, ..line() });
                found(Kind::ReturnDiffers)
            }
            ReturnedInAnotherCurrency => {
                let currency = "GBP".to_owned();
                world.lines.push(StatementLine { movement: Movement::Returned, currency, ..line() });
                found(Kind::ReturnDiffers)
            }
            ReturnedBeforeItWasPaid => {
                let at = Some(time::macros::datetime!(2011-12-01 00:00 UTC));
                world.lines.push(StatementLine { movement: Movement::Returned, at, ..line() });
                found(Kind::ReturnDiffers)
            }
            ReturnedThere => {
                world.lines.push(StatementLine { movement: Movement::Returned, ..line() });
                vec![]
            }
            ReturnedOnBothSides => {
                world.returned(id, &line().reference).await;
                world.lines.push(StatementLine { movement: Movement::Returned, ..line() });
                vec![]
            }
            ReturnedThereOfAnotherAmount => {
                world.lines.push(StatementLine { movement: Movement::Returned, amount_minor: 1, ..line() });
                found(Kind::ReturnInPart)
            }
            SettleMissing => {
                world.tamper(format!("DELETE FROM transfer WHERE payout_id = {target} AND kind = 2")).await;
                found(Kind::LedgerOutOfBalance)
            }
            ReserveOfAnotherAmount => {
                world
                    .tamper(format!(
                        "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE payout_id = {target} AND kind = 0"
                    ))
                    .await;
                found(Kind::LedgerOutOfBalance)
            }
            TransferInAnotherCurrency => {
                world
                    .tamper(format!("UPDATE transfer SET currency = 'GBP' WHERE payout_id = {target} AND kind = 2"))
                    .await;
                found(Kind::LedgerOutOfBalance)
            }
            BalanceMoved => {
                world
                    .tamper(format!(
                        "UPDATE account a SET carried_minor = a.carried_minor + 5 FROM payout p
                          WHERE p.id = {target} AND a.affiliate_id = p.affiliate_id AND a.currency = p.currency"
                    ))
                    .await;
                vec![(Kind::LedgerOutOfBalance, None, whose)]
            }
            EarnedAfterwards => {
                world
                    .tamper(format!(
                        "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor,
                           earned_at, due_at, kind, order_ref)
                         SELECT tenant_id, 'after{n}', affiliate_id, currency, 7, '2011-11-16Z', '2011-11-16Z', 'sale',
                           'o' FROM payout WHERE id = {target}"
                    ))
                    .await;
                vec![(Kind::Skipped, None, whose)]
            }
            UnknownForLong => {
                world.lines.remove(at(world).unwrap());
                world.tamper(format!("DELETE FROM transfer WHERE payout_id = {target} AND kind = 2")).await;
                world
                    .tamper(format!(
                        "UPDATE payout SET state = 'unknown', reference = NULL, settled_at = NULL WHERE id = {target}"
                    ))
                    .await;
                world
                    .tamper(format!(
                        "UPDATE batch
                            SET first_sent_at = first_sent_at - interval '2 days'
                          WHERE {target} BETWEEN first_payout_id AND last_payout_id"
                    ))
                    .await;
                found(Kind::UnknownTooLong)
            }
            RefusedButPaid | RefusedButPaidTwice | RefusedButReturned => {
                let mut line = world.line_of(id).await;
                line.reference = format!("late{n}");
                match self {
                    RefusedButPaid => {
                        world.lines.push(line);
                        found(Kind::PaidLate)
                    }
                    RefusedButReturned => {
                        // What came back went out before: nobody has it, and the money is due as it was.
                        world.lines.push(StatementLine { movement: Movement::Returned, ..line });
                        vec![]
                    }
                    _ => {
                        world.lines.push(StatementLine { reference: format!("later{n}"), ..line.clone() });
                        world.lines.push(line);
                        [found(Kind::PaidTwice), found(Kind::PaidLate)].concat()
                    }
                }
            }
            RefusedButPaidByAnswer => {
                world.tamper(evidence(format!("late{n}"))).await;
                found(Kind::PaidUnrecorded)
            }
            ReleaseMissing => {
                world.tamper(format!("DELETE FROM transfer WHERE payout_id = {target} AND kind = 3")).await;
                found(Kind::LedgerOutOfBalance)
            }
            ExclusionMissing => {
                let run = world.run.id;
                let who: String = sqlx::query_scalar("SELECT external_id FROM affiliate WHERE id = $1")
                    .bind(target)
                    .fetch_one(&world.raw)
                    .await
                    .unwrap();
                world.tamper(format!("DELETE FROM exclusion WHERE run_id = {run} AND affiliate_id = {target}")).await;
                vec![(Kind::Skipped, None, Some(who))]
            }
            ForeignKey => {
                let base = world.lines[0].clone();
                world
                    .lines
                    .insert(3, StatementLine { key: format!("in\tvoice\\{n}"), reference: "x\n1".to_owned(), ..base });
                stray(None)
            }
            ForgedKey => {
                let base = world.lines[0].clone();
                let (number, _) = base.key.split_once('-').unwrap();
                let key = format!("{number}-{n:016x}");
                world.lines.push(StatementLine { key, reference: format!("forged{n}"), ..base });
                stray(None)
            }
            KeyOfNoPayout => {
                let base = world.lines[0].clone();
                let id = PayoutId(world.run.id.payouts().0.0 + 1_000_000 + n as i64);
                world.lines.push(StatementLine {
                    key: format!("{id}-0123456789abcdef"),
                    reference: format!("none{n}"),
                    ..base
                });
                stray(None)
            }
            KeyOfOtherRun | ForgedKeyOfOtherRun => {
                let mut line = world.statement(world.first.id).await.swap_remove(n % 5);
                if self == KeyOfOtherRun {
                    world.lines.push(line);
                    return vec![];
                }
                line.key = format!("{}-{n:016x}", line.key.split_once('-').unwrap().0);
                world.lines.push(line);
                stray(None)
            }
            TransferOfNoPayout => {
                let id = PayoutId(world.run.id.payouts().0.0 + 2_000_000 + n as i64);
                let tenant = world.tenant;
                world
                    .tamper(format!(
                        "INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency)
                         VALUES ({id}, 5, {tenant}, 0, 'EUR')"
                    ))
                    .await;
                vec![(Kind::LedgerOutOfBalance, Some(id), None)]
            }
            AffiliateForgotten => {
                let (tenant, who) = (world.tenant, format!("forgotten{n}"));
                world
                    .tamper(format!(
                        "WITH one AS (INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
                           VALUES ({tenant}, '{who}', 'F', 'f@example.com', 'DE', 'EUR') RETURNING id)
                         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor,
                           earned_at, due_at, kind, order_ref)
                         SELECT {tenant}, '{who}', id, 'EUR', 900, '2011-11-16Z', '2011-11-16Z', 'sale', 'o' FROM one"
                    ))
                    .await;
                vec![(Kind::Skipped, None, Some(who))]
            }
        }
    }
}
