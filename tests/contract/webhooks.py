"""Signatures: the vendors' vectors, and what our sandbox signs, by programs that know neither."""

import base64
import json
import zlib

import stripe

from world import Receiver, node


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def stripe_accepts(body, header, secret, tolerance=None):
    try:
        return stripe.WebhookSignature.verify_header(body, header, secret, tolerance)
    except stripe.SignatureVerificationError:
        return False


def paypal_text(headers, webhook_id, body):
    return "|".join(
        [headers["paypal-transmission-id"], headers["paypal-transmission-time"], webhook_id, str(zlib.crc32(body))]
    )


def vectors(specs, judge, folder):
    """One byte more is not accepted, and the vector itself is."""
    read = lambda path: json.loads((specs / path).read_text())
    vector = read("stripe/examples/40-webhook-signature-vector.json")
    header = vector["headers"]["Stripe-Signature"]
    judge.holds("Stripe's client takes Stripe's vector", stripe_accepts(vector["body"], header, vector["secret"]))
    judge.holds("and not another body", not stripe_accepts(vector["body"] + " ", header, vector["secret"]))

    vector = read("paypal/examples/42-webhook-signature-vector.json")
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    text = paypal_text(headers, vector["webhook_id"], vector["body"].encode())
    judge.same("PayPal's vector: the signed text", text, vector["signed_string"])
    one = {"signature": headers["paypal-transmission-sig"], "certificate": vector["certificate_pem"]}
    checks = [one | {"text": b64(text)}, one | {"text": b64(text + "0")}]
    vector = read("wise/webhook_signed_example.json")
    key = (specs / "wise/webhook_sandbox_public_key.pem").read_text()
    one = {"signature": vector["headers"]["X-Signature-SHA256"], "public_key": key}
    checks += [one | {"text": b64(vector["body"])}, one | {"text": b64(vector["body"] + " ")}]
    judge.same(
        "Node takes PayPal's and Wise's vectors and nothing else",
        node(folder, "signatures.mjs", given=checks),
        [True, False, True, False],
    )


def sandbox(rails, judge, folder):
    """What our sandbox sends when something is paid there."""
    keys = rails["paypal"].sandbox.call("GET", "/webhooks/keys")
    hooks = {"paypal": {"webhook_id": "WH-1"}, "stripe": {"secret": "whsec_contract"}, "wise": {}}
    taken = {}
    for name, rail in rails.items():
        receiver = Receiver()
        rail.sandbox.call("PUT", f"/webhooks/{name}", {"url": receiver.url, **hooks[name]})
        rail.ask(
            "submit",
            rail.order(1001, "EUR", {"paypal": "ann@example.com", "stripe": "acct_1"}.get(name) or rail.recipient),
        )
        taken[name] = receiver.wait()
        rail.sandbox.call("DELETE", f"/webhooks/{name}")
        judge.holds(f"{name} sends a notice", taken[name])
    if not all(taken.values()):
        return
    headers, body = taken["stripe"]
    event = stripe.Webhook.construct_event(body, headers["stripe-signature"], "whsec_contract")
    judge.same(
        "Stripe's client takes what our sandbox signs",
        (event.type, event.data.object.object),
        ("transfer.created", "transfer"),
    )
    judge.holds(
        "and not by another secret", not stripe_accepts(body.decode(), headers["stripe-signature"], "whsec_other", 300)
    )
    headers, body = taken["paypal"]
    one = {
        "signature": headers["paypal-transmission-sig"],
        "certificate": keys["paypal_certificate"],
        "authority": keys["paypal_authority"],
    }
    checks = [one | {"text": b64(paypal_text(headers, webhook_id, body))} for webhook_id in ("WH-1", "WH-2")]
    headers, body = taken["wise"]
    one = {"signature": headers["x-signature-sha256"], "public_key": keys["wise_public_key"]}
    checks += [one | {"text": b64(body)}, one | {"text": b64(body + b" ")}]
    judge.same(
        "Node takes what our sandbox signs and nothing else",
        node(folder, "signatures.mjs", given=checks),
        [True, False, True, False],
    )
