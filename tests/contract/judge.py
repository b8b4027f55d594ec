"""Runs all foreign judges, for `scripts/contract-check`. Exit code 1 if anything is not as it should be."""

import argparse
import pathlib
import sys
import traceback

import paypal
import stripes
import webhooks
import wise
from world import Adapters, Http, Judge, Rail

CREDENTIALS = {"paypal": "acme:secret", "stripe": "sk_test_acme", "wise": "personal-token"}


def accounts(addresses):
    more = {
        "paypal": 'email_subject = "Your commission"',
        "stripe": 'source_type = "card"',
        "wise": f"profile = {wise.PROFILE}\nbalances = {{ EUR = 200001 }}",
    }
    table = '[[account]]\nrail = "{0}"\nname = "main"\nbase_url = "{1}"\n{2}\n'
    return "".join(table.format(name, address, more[name]) for name, address in addresses.items())


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--sandbox", required=True, help="its address, for faults")
    options.add_argument("--adapters", required=True, help="the program payfleet-adapters")
    options.add_argument("--work", required=True, type=pathlib.Path, help="the folder with the packages for Node")
    options.add_argument("--specs", type=pathlib.Path, help="the contracts' folder, with the vectors")
    options.add_argument(
        "--rail", action="append", default=[], metavar="NAME=ADDRESS", help="where clients and adapters speak to a rail"
    )
    given = options.parse_args()
    addresses = dict(one.split("=", 1) for one in given.rail)
    file = given.work / "accounts.toml"
    file.write_text(accounts(addresses))
    adapters = Adapters(given.adapters, str(file))
    rails = {
        name: Rail(name, address, Http(given.sandbox), adapters, CREDENTIALS[name])
        for name, address in addresses.items()
    }
    judges = {
        "paypal": lambda judge: paypal.judge(rails["paypal"], judge, given.work),
        "stripe": lambda judge: stripes.judge(rails["stripe"], judge),
        "wise": lambda judge: wise.judge(rails["wise"], judge),
        "webhooks": lambda judge: webhooks.sandbox(rails, judge, given.work),
    }
    if given.specs:
        judges["vectors"] = lambda judge: webhooks.vectors(given.specs, judge, given.work)
    is_wrong = False
    for name, run in judges.items():
        judge = Judge()
        rails["paypal"].faults()
        try:
            run(judge)
        except Exception as error:  # what is missing in an answer, for one: the other judges are heard too
            frame = traceback.extract_tb(error.__traceback__)[-1]
            judge.wrong.append(f"could not go on at {pathlib.Path(frame.filename).name}:{frame.lineno}: {error!r}")
        print(f"{name:10} {judge.compared:4} compared, {len(judge.wrong)} wrong", flush=True)
        for wrong in judge.wrong:
            print(f"  {wrong}")
        is_wrong = is_wrong or bool(judge.wrong)
    adapters.close()
    sys.exit(1 if is_wrong else 0)


if __name__ == "__main__":
    main()
