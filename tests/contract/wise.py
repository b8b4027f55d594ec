"""Wise: its contract is the judge. Wise has no client of its own for these calls."""

from world import Http, accepted

PROFILE = 12345678


def judge(rail, judge):
    recipient = rail.recipient = recipients(rail, judge)
    good = course(rail, judge, recipient)
    approval(rail, judge, recipient)
    refusals(rail, judge, recipient)
    group(rail, judge, recipient)
    statement(rail, judge, recipient, good)


def call(rail, method, path, body=None):
    return Http(rail.address).call(method, path, body, {"Authorization": f"Bearer {rail.credential}"})


def simulate(rail, reference, state):
    """As Wise's own sandbox has it; no contract has that."""
    headers = {"Authorization": f"Bearer {rail.credential}"}
    rail.sandbox.call("GET", f"/wise/v1/simulation/transfers/{reference}/{state}", headers=headers)


def recipients(rail, judge):
    details = {"legalType": "PRIVATE", "IBAN": "DE89370400440532013000"}
    who = {"currency": "EUR", "kind": "iban", "name": "Ann Example", "details": details}
    number = rail.ask("recipient_make", recipient=who).get("number")
    read = rail.ask("recipient_read", number=number)
    judge.same("a recipient is made and read", read, {"number": number, "currency": "EUR", "is_active": True})
    return str(number)


def paid(rail, one):
    told = rail.ask("submit", one).get("each", [{}])[0]
    return told.get("is"), told.get("reference", "")


def course(rail, judge, recipient):
    one = rail.order(1001, "EUR", recipient)
    made, reference = paid(rail, one)
    judge.same("a transfer is made and funded", made, "accepted")
    judge.same("the same again is the same", paid(rail, one)[1], reference)
    found = rail.ask("look_up", one)["findings"][0]
    judge.same("the lookup finds it by our UUID", found.get("reference"), reference)
    simulate(rail, reference, "outgoing_payment_sent")
    (held,) = accepted([one], reference)
    judge.same("it was sent", rail.outcome("follow", held), "paid")
    read = call(rail, "GET", f"/v1/transfers/{reference}")
    told = (read["targetAccount"], read["targetValue"], read["targetCurrency"], read["details"]["reference"])
    judge.same("the transfer is ours", told, (int(recipient), 10.01, "EUR", one["key"]))
    judge.same(
        "of another key there is nothing", rail.outcome("look_up", rail.order(1001, "EUR", recipient)), "not_found"
    )
    return held


def approval(rail, judge, recipient):
    rail.faults(wise={"sca": 1})
    one = rail.order(1002, "EUR", recipient)
    made, reference = paid(rail, one)
    judge.same("a person is asked for, and nothing is paid", made, "accepted")
    (held,) = accepted([one], reference)
    judge.same("it waits", rail.outcome("follow", held), "accepted")
    judge.same("funding asks again", rail.outcome("fund", held), "accepted")
    rail.faults()
    judge.same("funded once a person has agreed", rail.outcome("fund", held), "accepted")
    simulate(rail, reference, "outgoing_payment_sent")
    judge.same("and sent", rail.outcome("follow", held), "paid")
    rail.faults(wise={"sca_statement": 1})
    judge.holds("a statement may ask for a person too", "403" in rail.ask("statement").get("error", ""))
    rail.faults()


def refusals(rail, judge, recipient):
    def answered(what, expected, minor=1001, currency="EUR", to=recipient):
        judge.same(what, rail.outcome("submit", rail.order(minor, currency, to)), expected)

    rail.faults(wise={"reject": 1})
    answered("funding is rejected for want of money", "stopped:no_funds")
    rail.faults(rate_limit=1)
    answered("rate limited", "not_executed")
    rail.faults(error_after=1)
    answered("a server error where money moves", "unknown")
    rail.faults(error_before=1, strike_preparing=True)
    answered("a server error before that", "not_executed")
    rail.faults()
    answered("nobody", "refused:target_account_not_valid", to="999999999")
    answered("a recipient of another currency", "refused:target_account_not_valid", currency="GBP")
    one = rail.order(1003, "EUR", recipient)
    (held,) = accepted([one], paid(rail, one)[1])
    judge.same("a transfer is cancelled", rail.outcome("cancel", held), "accepted")
    judge.same("and its money comes back", rail.follow_until(["returned"], [held]), ["returned"])
    judge.same("too late to cancel again", rail.outcome("cancel", held), "unanswered")
    judge.same("no such transfer", rail.outcome("follow", held | {"reference": "999999999"}), "unanswered")


def group(rail, judge, recipient):
    made = rail.ask("group_make", currency="EUR")
    ones = [rail.order(2001 + at, "EUR", recipient) for at in range(3)]
    added = [rail.ask("group_add", one, group=made).get("each", [{}])[0] for one in ones]
    judge.same("transfers of a group wait", [one.get("is") for one in added], ["accepted"] * 3)
    read = rail.ask("group_read", group=made)
    judge.same(
        "the group holds them",
        sorted(map(str, read.get("transferIds", []))),
        sorted(one.get("reference") for one in added),
    )
    closed = rail.ask("group_close", group=read)
    judge.same(
        "closed is not paid",
        (closed.get("status"), rail.outcome("follow", ones[0] | {"reference": added[0]["reference"]})),
        ("COMPLETED", "accepted"),
    )
    judge.holds("one that somebody has changed is not closed", "error" in rail.ask("group_close", group=read))
    call(rail, "POST", f"/v3/profiles/{PROFILE}/batch-payments/{made['id']}/payments", {"type": "BALANCE"})
    for one, told in zip(ones, added):
        simulate(rail, told["reference"], "outgoing_payment_sent")
        judge.same("funded by a person", rail.outcome("follow", one | {"reference": told["reference"]}), "paid")


def statement(rail, judge, recipient, good):
    one = rail.order(5000, "EUR", recipient)
    _, reference = paid(rail, one)
    rail.faults(return_fee_minor=250)
    simulate(rail, reference, "funds_refunded")
    rail.faults()
    lines = rail.statement_until(one["key"])
    judge.holds("the statement has an end", lines and lines[-1].get("end"))
    told = {(line["movement"], line["key"], line["minor"]) for line in lines[:-1]}
    judge.holds("what was paid is on it", ("paid", good["key"], 1001) in told and ("paid", one["key"], 5000) in told)
    back = [line for line in lines[:-1] if line["movement"] == "returned" and line["of"] == reference]
    judge.same("so much came back", [line["minor"] for line in back], [4750])
    found = rail.ask("follow", one | {"reference": reference}).get("findings")
    judge.same("less than was paid", found, [{"is": "returned_part", "reference": reference, "minor": 4750}])
