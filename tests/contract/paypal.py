"""PayPal: what our adapter made, read by PayPal's own clients for Node."""

from datetime import datetime, timedelta, timezone

from world import accepted, batch_key, node, word

STATES = {
    "SUCCESS": "paid",
    "UNCLAIMED": "accepted",
    "ONHOLD": "accepted",
    "BLOCKED": "accepted",
    "RECEIVER_ACCOUNT_INVALID": "refused:receiver_account_invalid",
}


def judge(rail, judge, folder):
    client, secret = rail.credential.split(":")

    def theirs(*steps):
        return node(folder, "paypal.mjs", rail.address, client, secret, given=list(steps))

    made = batch(rail, judge, theirs)
    currencies(rail, judge, theirs)
    refusals(rail, judge)
    long_receivers(rail, judge, theirs)
    statement(rail, judge, theirs, made)


def batch(rail, judge, theirs):
    receivers = [
        "ann@example.com",
        "WXKH2C8V6BQTE",
        "+4915112345678",
        "bob+x@example.org",
        "O'Hara@example.com",
        "eve@example.com",
    ]
    orders = [rail.order(1001 + at, "USD", receiver) for at, receiver in enumerate(receivers)]
    script = dict(zip((one["key"] for one in orders), [*STATES, "UNCLAIMED"]))
    rail.faults(paypal={"script": script})
    sent = rail.ask("submit", *orders)
    ids = {one.get("reference") for one in sent.get("each", [])}
    judge.same("a batch is accepted under one name", (len(ids), word(sent.get("each", [sent])[0])), (1, "accepted"))
    pb = ids.pop() if ids else ""
    judge.same("the same batch again is the same batch", rail.ask("submit", *orders), sent)
    held = accepted(orders, pb)
    expected = [STATES.get(state) for state in script.values()]
    judge.same("the batch is followed", rail.follow_until(expected, held), expected)

    (read,) = theirs({"do": "batch", "id": pb})
    judge.same("PayPal's client: the batch is there", read["status"], 200)
    header, items = read["body"]["batch_header"], read["body"]["items"]
    sender = header["sender_batch_header"]["sender_batch_id"]
    judge.same("PayPal's client: its id is our key", sender, batch_key(orders))
    judge.same(
        "PayPal's client: the subject is ours", header["sender_batch_header"].get("email_subject"), "Your commission"
    )
    told = [
        (
            i["payout_item"]["sender_item_id"],
            i["payout_item"]["receiver"],
            i["payout_item"]["recipient_type"],
            i["payout_item"]["amount"],
        )
        for i in items
    ]
    kinds = ["EMAIL", "PAYPAL_ID", "PHONE", "EMAIL", "EMAIL", "EMAIL"]
    amount = lambda minor: {"currency": "USD", "value": f"{minor // 100}.{minor % 100:02}"}
    ours = [(one["key"], one["destination"], kind, amount(one["minor"])) for one, kind in zip(orders, kinds)]
    judge.same("PayPal's client: the items are ours", told, ours)
    names = ["SUCCESS", "UNCLAIMED", "ONHOLD", "BLOCKED", "FAILED", "UNCLAIMED"]
    judge.same("PayPal's client: their states", [one["transaction_status"] for one in items], names)

    body = {
        "sender_batch_header": {"sender_batch_id": sender},
        "items": [{"recipient_type": "EMAIL", "amount": amount(1), "receiver": "x@example.com"}],
    }
    used, cancelled, early, foreign = theirs(
        {"do": "create", "body": body},
        {"do": "cancel", "id": items[1]["payout_item_id"]},
        {"do": "cancel", "id": items[0]["payout_item_id"]},
        {"do": "create", "body": body | {"sender_batch_header": {"sender_batch_id": "theirs-1", "email_subject": "s"}}},
    )
    judge.same("PayPal's client: our id is used", (used["status"], used["body"]["name"]), (400, "USER_BUSINESS_ERROR"))
    judge.holds(
        "PayPal's client: the link names our batch",
        used["body"]["details"][0]["link"][0]["href"].endswith(f"/payouts/{pb}"),
    )
    judge.same(
        "PayPal's client: an unclaimed item is cancelled",
        (cancelled["status"], cancelled["body"].get("transaction_status")),
        (200, "RETURNED"),
    )
    judge.same(
        "PayPal's client: a paid one is not",
        (early["status"], early["body"].get("name")),
        (400, "ITEM_INCORRECT_STATUS"),
    )
    judge.same("PayPal's client: a batch of its own", foreign["status"], 201)
    judge.same("what others took back has come back", rail.outcome("follow", held[1], batch_key=sender), "returned")
    judge.same("recall of an unclaimed item", rail.outcome("recall", held[5], batch_key=sender), "returned")
    (item,) = theirs({"do": "item", "id": items[5]["payout_item_id"]})
    judge.same("PayPal's client: recalled", (item["status"], item["body"]["transaction_status"]), (200, "RETURNED"))
    return orders


def currencies(rail, judge, theirs):
    """PayPal's own decimals: HUF, JPY and TWD have none."""
    for currency, minor, value in [
        ("JPY", 1234, "1234"),
        ("HUF", 123400, "1234"),
        ("EUR", 5, "0.05"),
        ("USD", 2000000, "20000.00"),
    ]:
        order = rail.order(minor, currency, "ann@example.com")
        reference = rail.ask("submit", order).get("each", [{}])[0].get("reference", "")
        (read,) = theirs({"do": "batch", "id": reference})
        amounts = [item["payout_item"]["amount"] for item in read["body"].get("items", [])]
        judge.same(f"PayPal's client: {minor} {currency}", amounts, [{"currency": currency, "value": value}])


def refusals(rail, judge):
    """Every answer that is none, as the contract has it."""

    def answered(what, expected, currency="USD", receiver="ann@example.com"):
        judge.same(what, rail.outcome("submit", rail.order(1001, currency, receiver)), expected)

    rail.faults(paypal={"not_held": ["CHF"]})
    answered("a currency that is not held", "stopped:no_funds", currency="CHF")
    for name, reason in [
        ("AUTHORIZATION_ERROR", "credential_refused"),
        ("SENDER_RESTRICTED", "restricted"),
        ("SENDER_EMAIL_UNCONFIRMED", "restricted"),
        ("REQUIRED_SCOPE_MISSING", "credential_refused"),
    ]:
        rail.faults(paypal={"forbidden": name})
        answered(name, f"stopped:{reason}")
    rail.faults(rate_limit=1)
    answered("rate limited", "not_executed")
    rail.faults(error_before=1)
    answered("a server error", "unknown")
    rail.faults()
    rail.sandbox.call(
        "POST", "/faults/balance", {"shape": "paypal", "account": "acme", "currency": "SGD", "amount_minor": 100}
    )
    answered("no money", "stopped:no_funds", currency="SGD")
    answered("a currency that PayPal does not pay in", "refused:invalid_item", currency="INR")
    rail.sandbox.call("POST", "/faults/revoke-tokens")
    answered("a token that has ended costs no payout", "not_executed")
    answered("and the next one is new", "accepted")
    judge.same(
        "a batch that there is not",
        rail.outcome("follow", rail.order(1, "USD", "a@example.com", reference="NOSUCHBATCH12")),
        "unanswered",
    )


def long_receivers(rail, judge, theirs):
    """An address may be longer than PayPal takes one (127)."""
    domain = "." + ".".join(["d" * 40] * 2) + ".com"
    fits, longer = ("a" * 20 + "@" + "e" * (127 - 21 - len(domain) + extra) + domain for extra in (0, 1))
    order = rail.order(1001, "USD", fits)
    reference = rail.ask("submit", order).get("each", [{}])[0].get("reference", "")
    (read,) = theirs({"do": "batch", "id": reference})
    judge.same(
        "PayPal's client: the longest receiver",
        [i["payout_item"]["receiver"] for i in read["body"].get("items", [])],
        [fits],
    )
    judge.same(
        "a longer one is not sent", rail.outcome("submit", rail.order(1001, "USD", longer)), "not_executed"
    )


def statement(rail, judge, theirs, made):
    lines = rail.statement_until(made[-1]["key"])
    ours = {
        (one["key"], one["reference"], one["minor"], one["currency"]) for one in lines if one.get("movement") == "paid"
    }
    judge.holds("the statement has an end", lines and lines[-1].get("end"))
    now = datetime.now(timezone.utc).replace(microsecond=0)
    window = {"startDate": (now - timedelta(days=1)).isoformat(), "endDate": (now + timedelta(seconds=1)).isoformat()}
    (found,) = theirs({"do": "search", **window})
    rows = [row["transactionInfo"] for row in found["body"]["transactionDetails"]]
    paid = [row for row in rows if row["transactionEventCode"] == "T0001" and row["transactionStatus"] == "S"]
    minor = lambda row: -round(
        float(row["transactionAmount"]["value"]) * (1 if row["transactionAmount"]["currencyCode"] == "JPY" else 100)
    )
    theirs_paid = {
        (row.get("customField", ""), row["transactionId"], minor(row), row["transactionAmount"]["currencyCode"])
        for row in paid
    }
    judge.same("PayPal's newer client finds the same payments", ours, theirs_paid)
    judge.holds("and ours are among them", made[0]["key"] in {key for key, *_ in ours})
    back = {(one["key"], one["minor"]) for one in lines if one.get("movement") == "returned"}
    judge.same("what came back is on the statement", back, {(one["key"], one["minor"]) for one in (made[1], made[5])})
