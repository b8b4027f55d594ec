"""Stripe: what our adapter made, read by Stripe's own client for Python."""

import stripe

UNITS = [
    ("EUR", 5, 5),
    ("JPY", 1234, 1234),
    ("KWD", 12340, 12340),
    ("ISK", 150, 15000),
    ("UGX", 150, 15000),
    ("BIF", 77, 77),
    ("MGA", 500, 5),
]


def judge(rail, judge):
    stripe.api_base, stripe.api_key, stripe.max_network_retries = rail.address, rail.credential, 0
    transfer(rail, judge)
    units(rail, judge)
    reversals(rail, judge)
    refusals(rail, judge)
    bank(rail, judge)
    statement(rail, judge)


def refused(call, *whose, **form):
    """The kind of error that Stripe's client makes of an answer, and its code."""
    try:
        return call(*whose, **form).id
    except stripe.StripeError as error:
        return type(error).__name__, ((error.json_body or {}).get("error") or {}).get("code")


def form_of(one, **more):
    key = one["key"]
    return {
        "amount": one["minor"],
        "currency": one["currency"].lower(),
        "destination": one["destination"],
        "transfer_group": key,
        "metadata": {"payout": key},
        **more,
    }


def paid(rail, one):
    return rail.ask("submit", one).get("each", [{}])[0].get("reference", "")


def transfer(rail, judge):
    one = rail.order(1001, "USD", "acct_1PgafTB7WZ01zgkW", text="November & “more” 100 % +")
    reference = paid(rail, one)
    read = stripe.Transfer.retrieve(reference)
    told = (
        read.object,
        read.amount,
        read.currency,
        read.destination,
        read.transfer_group,
        read.metadata.to_dict(),
        read.description,
        read.source_type,
    )
    judge.same(
        "Stripe's client: the transfer is ours",
        told,
        ("transfer", 1001, "usd", one["destination"], one["key"], {"payout": one["key"]}, one["text"], "card"),
    )
    judge.same("the same again is the same", paid(rail, one), reference)
    same = stripe.Transfer.create(
        **form_of(one, description=one["text"], source_type="card"), idempotency_key=one["key"]
    )
    judge.same("Stripe's client: the same form under our key is that transfer", same.id, reference)
    judge.same(
        "Stripe's client: and is told as repeated", same.last_response.headers.get("idempotent-replayed"), "true"
    )
    other = refused(stripe.Transfer.create, **form_of(one | {"minor": 1002}), idempotency_key=one["key"])
    judge.same("Stripe's client: another form is not", other, ("IdempotencyError", None))
    judge.same("our adapter neither", rail.outcome("submit", one | {"minor": 1002}), "unknown")
    listed = [found.id for found in stripe.Transfer.list(transfer_group=one["key"], limit=100).auto_paging_iter()]
    judge.same("Stripe's client: one in its group", listed, [reference])
    judge.same("the lookup finds it", rail.ask("look_up", one), {"findings": [{"is": "paid", "reference": reference}]})
    judge.same(
        "and of another key nothing", rail.outcome("look_up", rail.order(1001, "USD", one["destination"])), "not_found"
    )
    early = rail.order(1001, "USD", one["destination"])
    judge.same("nor yet", rail.outcome("look_up", early, expires_in_s=60), "not_yet")


def units(rail, judge):
    """Stripe's own units, which are not always those of ISO 4217."""
    for currency, minor, theirs in UNITS:
        if currency == "MGA":
            minor = 500  # in hundredths by ISO 4217, of which Stripe counts none
        one = rail.order(minor, currency, "acct_1PgafTB7WZ01zgkW")
        read = stripe.Transfer.retrieve(paid(rail, one))
        judge.same(f"Stripe's client: {minor} {currency}", (read.amount, read.currency), (theirs, currency.lower()))
    judge.holds(
        "what does not come out even is not sent",
        rail.outcome("submit", rail.order(12345, "KWD", "acct_1")) == "not_executed",
    )


def reversals(rail, judge):
    one = rail.order(1001, "USD", "acct_1PgafTB7WZ01zgkW")
    reference = paid(rail, one)
    stripe.Transfer.create_reversal(reference, amount=400)
    found = rail.ask("look_up", one)["findings"]
    judge.same("a part came back", found, [{"is": "returned_part", "reference": reference, "minor": 400}])
    stripe.Transfer.create_reversal(reference)
    judge.same("and the rest", rail.ask("look_up", one)["findings"], [{"is": "returned", "reference": reference}])
    back = [one.amount for one in stripe.Transfer.list_reversals(reference).auto_paging_iter()]
    judge.same("Stripe's client: two reversals", sorted(back), [400, 601])
    more = refused(stripe.Transfer.create_reversal, reference, amount=1)
    judge.same("Stripe's client: no more than that", more[0], "InvalidRequestError")


def refusals(rail, judge):
    """What our adapter says of an answer, and what Stripe's client makes of the same."""

    def both(what, ours, theirs, destination="acct_1PgafTB7WZ01zgkW", currency="USD", credential=None):
        one = rail.order(1001, currency, destination)
        judge.same(what, rail.outcome("submit", one, credential=credential), ours)
        other = rail.order(1001, currency, destination)
        form = form_of(other, idempotency_key=other["key"], **({"api_key": credential} if credential else {}))
        judge.same(f"Stripe's client: {what}", refused(stripe.Transfer.create, **form), theirs)

    rail.sandbox.call(
        "POST", "/faults/balance", {"shape": "stripe", "account": "acme", "currency": "SGD", "amount_minor": 100}
    )
    both("no money", "stopped:no_funds", ("InvalidRequestError", "balance_insufficient"), currency="SGD")
    both(
        "no such destination",
        "refused:resource_missing",
        ("InvalidRequestError", "resource_missing"),
        destination="nobody",
    )
    rail.faults(refuse={"insufficient_capabilities_for_transfer": 1})
    code = "insufficient_capabilities_for_transfer"
    both("a payee who is not ready", f"refused:{code}", ("InvalidRequestError", code))
    rail.faults(rate_limit=1)
    both("rate limited", "not_executed", ("RateLimitError", "rate_limit"))
    rail.faults(stripe={"lock_timeout": 1})
    both("locked", "not_executed", ("RateLimitError", "lock_timeout"))
    rail.faults(stripe={"key_in_use": 1})
    both("a key in use", "unknown", ("APIError", "idempotency_key_in_use"))
    rail.faults(error_before=1)
    both("a server error", "unknown", ("APIError", None))
    rail.faults(stripe={"stored_500_paid": 1})
    both("a stored server error", "unknown", ("APIError", None))
    rail.faults()
    rail.sandbox.call("POST", "/faults/revoke", {"credential": "sk_test_gone"})
    both("a key that was revoked", "stopped:credential_refused", ("AuthenticationError", None), credential="sk_test_gone")


def bank(rail, judge):
    connected = "acct_1PgafTB7WZ01zgkW"
    made = stripe.Payout.create(amount=700, currency="usd", stripe_account=connected, statement_descriptor="COMMISSION")
    told = rail.ask("bank_payouts", connected=connected)
    judge.same("the way to the bank is shown", [one["id"] for one in told.get("payouts", [])], [made.id])
    balance = stripe.Balance.retrieve()
    judge.holds("Stripe's client: the balance is readable", balance.available and balance.available[0].currency)


def statement(rail, judge):
    """More than a page of 100."""
    many = [rail.order(1001, "EUR", "acct_1PgafTB7WZ01zgkW") for _ in range(105)]
    for one in many:
        rail.ask("submit", one)
    lines = rail.statement_until(*(one["key"] for one in many))
    judge.holds("the statement has an end", lines and lines[-1].get("end"))
    ours = {(one["movement"], one["key"], one["reference"]) for one in lines[:-1]}
    judge.same("each line once", len(ours), len(lines) - 1)
    groups, theirs = {}, set()
    everything = list(stripe.BalanceTransaction.list(limit=100, expand=["data.source"]).auto_paging_iter())
    for one in everything:
        if one.type == "transfer":
            groups[one.source.id] = one.source.transfer_group
            theirs.add(("paid", one.source.transfer_group, one.source.id))
    theirs |= {
        ("returned", groups[one.source.transfer], one.source.id) for one in everything if one.type == "transfer_refund"
    }
    judge.same("Stripe's client lists the same movements", ours, theirs)
    judge.holds("more than a page", len(ours) > 105)
