"""What the judges of all rails need: our adapters as a program, the sandbox, and a list of what is wrong."""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NUMBER = 12884901928
HASH = "a94610cdbdd64ddc"


class Judge:
    """Counts what was compared, and keeps what was not the same."""

    def __init__(self):
        self.compared = 0
        self.wrong = []

    def same(self, what, found, expected):
        self.compared += 1
        if found == expected:
            return
        if isinstance(found, set):
            found, expected = found - expected, expected - found
        self.wrong.append(f"{what}: {found!r} instead of {expected!r}")

    def holds(self, what, condition):
        self.same(what, bool(condition), True)


class Rail:
    """One rail: where it is for all who speak to it, what misbehaves there, and keys that nobody has used."""

    numbers = iter(range(NUMBER, NUMBER + 1_000_000))

    def __init__(self, name, address, sandbox, adapters, credential):
        self.name, self.address, self.sandbox = name, address, sandbox
        self.adapters, self.credential = adapters, credential

    def order(self, minor, currency, destination, **more):
        return {
            "key": f"{next(Rail.numbers)}-{HASH}",
            "minor": minor,
            "currency": currency,
            "destination": destination,
            **more,
        }

    def ask(self, what, *instructions, credential=None, **more):
        """Has the adapter do something. All older requests are dead, unless more says otherwise."""
        asked = {"rail": self.name, "do": what, "credential": credential or self.credential, "expires_in_s": -3600}
        if instructions:
            asked |= {"instructions": list(instructions), "batch_key": batch_key(instructions)}
        return self.adapters.ask(asked | more)

    def outcome(self, what, *instructions, **more):
        """The one word that holds for all of it: `paid`, `refused:CODE`."""
        answered = self.ask(what, *instructions, **more)
        if "stopped" in answered:
            return f"stopped:{answered['stopped']}"
        told = answered.get("each") or answered.get("findings") or [answered.get("all", answered)]
        words = {word(one) for one in told}
        return words.pop() if len(words) == 1 else sorted(words)

    def faults(self, **faults):
        """These faults and no others."""
        self.sandbox.call("DELETE", "/faults")
        if faults:
            self.sandbox.call("PUT", "/faults", faults)

    def follow_until(self, expected, instructions):
        """Asks until that is told; what was told last."""
        return until(
            lambda told: told == expected,
            lambda: [word(one) for one in self.ask("follow", *instructions).get("findings", [])],
        )

    def statement_until(self, *keys):
        """The statement's lines and its end, when all of these are on it: a second that has not ended is not."""
        has_all = lambda lines: set(keys) <= {one.get("key") for one in lines}
        return until(has_all, lambda: self.ask("statement").get("statement", []))


def until(done, asked):
    """Asks until it is done, or for half a minute; what was told last."""
    deadline = time.monotonic() + 30
    while True:
        told = asked()
        if done(told) or time.monotonic() > deadline:
            return told
        time.sleep(0.05)


def batch_key(instructions):
    """Of the batch that consists of these."""
    return f"{instructions[0]['key'].split('-')[0]}-{len(instructions)}-{HASH}"


def word(told):
    code = told.get("code")
    return told.get("is", str(told)) + (f":{code}" if code else "")


def accepted(instructions, reference):
    """The same instructions as the fleet holds them once the rail has named them."""
    return [one | {"reference": reference} for one in instructions]


class Adapters:
    """The program that holds our adapters."""

    def __init__(self, program, accounts):
        command = [program, "--rail-accounts", accounts]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, asked):
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"payfleet-adapters ended ({self.process.poll()})")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


class Http:
    """A server, spoken to without anybody's client."""

    def __init__(self, address):
        self.address = address

    def call(self, method, path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.address + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error


class Receiver:
    """Takes what a rail sends by itself, and keeps it as it came."""

    def __init__(self):
        self.taken = taken = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self):
        """The first that came, or nothing."""
        deadline = time.monotonic() + 30
        while not self.taken and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.taken[0] if self.taken else None


def node(folder, script, *arguments, given):
    """What a script of ours beside the packages of others says."""
    command = ["node", f"{folder}/{script}", *arguments]
    ended = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120)
    if ended.returncode != 0:
        raise RuntimeError(f"{script}: {ended.stderr}")
    return json.loads(ended.stdout)
