# SPDX-License-Identifier: GPL-2.0
"""Telling: what is said, through a real mail server, a sendmail, a web server."""

import asyncio
import email
import email.policy
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from farm.base.errors import FarmError, UsageError
from farm.history import changes, reading
from farm.matrix import CHECKOUT
from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict
from farm.tell import config, deliver, message
from farm.tell import tell as telling
from farm.tell.config import Config, Mail, Smtp, Webhook
from farm.tell.message import Told
from tests.test_records import RUN, SLOTS, record, texts, verdict_records

#: Nothing that anybody may read anywhere.
SECRET = "h4rdly-s3cret"

DONE = replace(RUN, status="finished", finished="2026-01-01T00:12:00+00:00", planned=2, exit=0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

PASSES = [record(Verdict.PASS, "test_a"), record(Verdict.PASS, "test_b[x]")]
FAILS = [PASSES[0], record(Verdict.FAIL, "test_b[x]", slots=SLOTS, reason="arg3 was passed as 0x1\nmore of it")]


def told(directory: Path, verdicts: list[VerdictRecord], before: list[VerdictRecord] | None = None, **run: Any) -> Told:
    """A run, compared with one of the day before."""

    def side(run: Run, verdicts: list[VerdictRecord]) -> changes.Side:
        # as the history has them, without the lines
        seen = {case: replace(one, line="") for case, one in reading.seen(verdicts).items()}
        read = reading.Reading(run, tuple(verdicts), ())
        return changes.Side(reading.summary(directory, read, seen), seen)

    now = replace(DONE, **run)
    old = None if before is None else side(replace(DONE, id="20251231-000000"), before)
    return Told(directory, now, verdicts, changes.compare(old, side(now, verdicts)))


# What is said.


@pytest.mark.parametrize(
    "verdicts, before, run, state, worth, line",
    [
        (PASSES, PASSES, {}, "same", False, "no change, all 2 passed or rightly skipped"),
        (FAILS, PASSES, {}, "worse", True, "WORSE: 1 new failure"),
        (PASSES, FAILS, {}, "better", True, "better: 1 fixed"),
        (FAILS, FAILS, {}, "same", False, "no change, 1 still failing"),
        (FAILS, None, {}, "worse", True, "WORSE: 1 new failure"),
        (PASSES, None, {}, "same", False, "no change, all 2 passed or rightly skipped"),
        (PASSES[:1], PASSES, {}, "worse", True, "WORSE: 1 gone"),
        (PASSES, PASSES[:1], {}, "changed", True, "changed: 1 new"),
        ([replace(each, verdict=Verdict.FAIL) for each in PASSES], PASSES, {}, "worse", True, "WORSE: 2 new failures"),
        ([], PASSES, {"status": "refused"}, "broken", True,
         "BROKEN: the run is refused, 0 of 2 tests have a verdict"),
        (PASSES, PASSES, {"status": "interrupted"}, "broken", True,
         "BROKEN: the run is interrupted, 2 of 2 tests have a verdict"),
    ],
)  # fmt: skip
def test_one_line(
    tmp_path: Path,
    verdicts: list[VerdictRecord],
    before: list[VerdictRecord] | None,
    run: dict[str, Any],
    state: str,
    worth: bool,
    line: str,
) -> None:
    said = told(tmp_path, verdicts, before, **run)
    assert (message.state(said), message.worth(said), message.verdict(said)) == (state, worth, line)
    assert message.subject(said) == f"[farm] {line} (20260101-000000)"
    assert message.body(said).splitlines()[0] == line


def test_mail_has_all_that_is_needed(tmp_path: Path) -> None:
    body = message.body(told(tmp_path, FAILS, PASSES))
    lines = body.splitlines()
    assert "run:      20260101-000000, finished after 12 min, tcg" in lines
    assert "before:   20251231-000000, finished" in lines
    assert "verdicts: 1 PASS, 1 FAIL" in lines
    assert f"results:  {tmp_path}" in lines
    at = next(n for n, line in enumerate(lines) if line.startswith("cell  "))
    assert lines[at + 1 : at + 3] == [
        "x86_64-regs    1 ok, 1 FAIL             -",
        "x86_64-static             -             -",
    ]
    at = lines.index("Changes since 20251231-000000:")
    assert lines[at + 2 : at + 4] == ["  new failure: x86_64-regs", "    slots test_b[x]"]
    assert "      FAIL: arg3's slot holds 0" in lines
    at = lines.index("FAIL x86_64-regs slots test_b[x]")
    assert lines[at + 1 : at + 4] == ["  arg3's slot holds 0", "  arg3 was passed as 0x1", "  more of it"]
    assert any(line.split()[:3] == ["arg3", "rdx", "96"] and line.count("!") == 1 for line in lines[at:])
    assert "  farm run x86_64-regs -k 'test_b[x86_64-regs-x]'" in lines[at:]


def test_mail_tells_one_cause_once(tmp_path: Path) -> None:
    """With the values, and in which cells."""
    names = [(f"test_{n}", cell) for cell in ("x86_64-regs", "x86_64-static") for n in range(5)]
    fails = [record(Verdict.FAIL, test, cell, reason=f"counted {0x1000 + n} calls") for n, (test, cell) in
             enumerate(names)]  # fmt: skip
    lines = message.body(told(tmp_path, fails, [replace(one, verdict=Verdict.PASS) for one in fails])).splitlines()
    at = lines.index("  new failure: x86_64-regs, x86_64-static, 10 tests")
    assert lines[at + 1] == "    x86_64-regs slots test_0"
    assert lines[at + 5 : at + 8] == ["    and 6 more", "      FAIL: counted 4096 calls", ""]


def test_mail_shows_the_splat(tmp_path: Path) -> None:
    (tmp_path / "cells/x86_64-regs").mkdir(parents=True)
    (tmp_path / "cells/x86_64-regs/console-1.log").write_bytes(b"[    1.0] BUG: \x1b[31mmine\r\n")
    crashed = record(Verdict.CRASH, console="console-1.log")
    lines = message.body(told(tmp_path, [crashed], [])).splitlines()
    assert "  BUG: \ufffd[31mmine" in lines


def test_mail_shows_the_new_failure_and_not_the_old(tmp_path: Path) -> None:
    old = record(Verdict.FAIL, "test_old", reason="old")
    new = record(Verdict.FAIL, "test_new", reason="new")
    said = told(tmp_path, [old, new], [old, replace(new, verdict=Verdict.PASS)])
    assert message.first_failure(said) == new
    assert message.verdict(said) == "WORSE: 1 new failure, 1 still failing"


def test_many_changes_are_counted(tmp_path: Path) -> None:
    """A kernel that does not boot is one group; a hundred different failures are not all listed."""
    unbootable = [record(Verdict.BOOT, f"test_{n}", reason="panic") for n in range(100)]
    body = message.body(told(tmp_path, unbootable, []))
    assert "new failure: x86_64-regs, 100 tests" in body
    assert f"and {100 - message.MEMBERS} more" in body
    different = [record(Verdict.FAIL, f"test_{n}", reason="x" * (n + 1)) for n in range(100)]
    body = message.body(told(tmp_path, different, []))
    assert f"and {100 - message.MOST} tests more" in body
    assert len(body) < 20_000


def test_mails_follow_one_another(tmp_path: Path) -> None:
    made = message.mail(told(tmp_path, FAILS, PASSES), "farm@example.org", ["a@example.org", "b@example.org"], NOW)
    assert made["Message-ID"] == "<farm-20260101-000000@example.org>"
    assert made["In-Reply-To"] == made["References"] == "<farm-20251231-000000@example.org>"
    assert made["To"] == "a@example.org, b@example.org"
    assert made["Auto-Submitted"] == "auto-generated"


@given(st.lists(verdict_records, max_size=4), texts, st.sampled_from(["running", "finished"]))
def test_mail_carries_any_text(verdicts: list[VerdictRecord], name: str, status: str) -> None:
    said = told(Path("/nonexistent"), verdicts, [], id=name, status=status)
    made = message.mail(said, "farm@example.org", ["you@example.org"], NOW)
    read = email.message_from_bytes(made.as_bytes(policy=email.policy.SMTP), policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    assert read.keys() == made.keys()
    body = read.get_content().replace("\r\n", "\n")
    assert body == message.body(said)
    assert all(line.isprintable() for line in body.split("\n"))
    assert json.loads(json.dumps(message.document(said)))["run"] == name


def test_bisection_is_offered(tmp_path: Path) -> None:
    """Where the tree is the user's, and its commit another one."""
    said = told(tmp_path, FAILS, PASSES, tree="/home/u/linux@mine")
    before, after = said.comparison.before, said.comparison.after
    assert before
    kernel = reading.kernel(tmp_path, "x86_64-regs")
    old = replace(before, kernels={"x86_64-regs": replace(kernel, commit="a" * 40)})
    new = replace(after, kernels={"x86_64-regs": replace(kernel, commit="b" * 40)})
    lines = message.body(replace(said, comparison=replace(said.comparison, before=old, after=new))).splitlines()
    command = f"farm bisect --tree /home/u/linux --good {'a' * 40} --bad {'b' * 40} --cell x86_64-regs"
    assert f"  {command} -k 'test_b[x86_64-regs-x]'" in lines
    assert "farm bisect" not in message.body(said)


# tell.yaml.


def written(path: Path, text: str) -> Path:
    (path / "tell.yaml").write_text(text)
    return path / "tell.yaml"


def test_the_documented_files_are_right(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs/telling.md").read_text()
    blocks = [
        block.replace("\n    ", "\n") for block in text.split("\n\n") if block.startswith("    ") and "mail:" in block
    ]
    first, second = (config.load(written(tmp_path, block[4:])) for block in blocks)
    assert first.mail
    assert (first.when, first.mail.smtp, first.mail.sendmail) == ("changed", None, "/usr/sbin/sendmail")
    assert first.webhook
    assert second.mail
    assert second.mail.smtp
    assert second.mail.smtp.model_dump().keys() == Smtp.model_fields.keys() == second.mail.smtp.model_fields_set
    standard = Smtp(host="x")
    assert (standard.port, standard.security, standard.seconds) == (587, "starttls", 30)


def test_webhook_is_documented(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs/telling.md").read_text()
    rows = [line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")]
    document = message.document(told(tmp_path, FAILS, PASSES))
    assert rows == list(document)
    assert f"JSON, schema {message.SCHEMA}:" in text
    assert all(f"`{key}`" in text for key in document["changes"][0])


MAIL = "mail:\n  sender: farm@example.org\n  to: [you@example.org]\n"


@pytest.mark.parametrize(
    "text, said",
    [
        ("when: changed\n", "tell.yaml:1: the whole file: neither mail nor webhook: no message could be sent"),
        (f"when: never\n{MAIL}", "tell.yaml:1: when: must be 'changed' or 'always'"),
        (
            f"{MAIL}  smtp:\n    host: h\n    password: {SECRET}\n",
            "tell.yaml:6: mail.smtp.password: no such key; did you mean password_file? there is",
        ),
        (f"{MAIL}  smtp: {{host: h, user: u, security: none}}\n", "tell.yaml:4: mail.smtp.security: none would send"),
        (f"{MAIL}  smtp: {{host: h, port: '25'}}\n", "tell.yaml:4: mail.smtp.port: must be a whole number"),
        ("mail:\n  sender: farm@x\n  to: []\n", "tell.yaml:3: mail.to: must not be empty"),
        ("mail:\n  sender: farm@x\n  to: ['a@b\\r\\nBcc: c@d']\n", "tell.yaml:3: mail.to.0: must be an address"),
        ("mail:\n  sender: '-oQ/tmp'\n  to: [a@b]\n", "tell.yaml:2: mail.sender: must be an address"),
        (
            f"webhook:\n  url: http://example.org/{SECRET}\n",
            "tell.yaml:2: webhook.url: http would send it in the clear",
        ),
        (f"webhook:\n  url: file:///{SECRET}\n", "tell.yaml:2: webhook.url: must be https://HOST/…"),
        (f"webhook:\n  url: https://u:{SECRET}@h/\n", "tell.yaml:2: webhook.url: has a password in it"),
        (f"webhook:\n  url: https://[{SECRET}\n", "tell.yaml:2: webhook.url: no URL"),
        ("webhook:\n  url: https://h/\n  url_file: f\n", "tell.yaml:3: webhook.url_file: there is a url already"),
        (f"webhook: {{url: '{SECRET}\n", "tell.yaml:2: not YAML: "),
        ("\x00", "tell.yaml:1: not YAML: the character"),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        config.load(written(tmp_path, text))
    assert said in str(error.value)
    assert SECRET not in str(error.value)


def test_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tell\.yaml: no such file: docs/telling\.md says what to write there"):
        config.load(tmp_path / "tell.yaml")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_secret_that_others_can_read(tmp_path: Path, mode: int) -> None:
    (tmp_path / "s").write_text(SECRET)
    (tmp_path / "s").chmod(mode)
    with pytest.raises(UsageError, match=rf"^key: .*/s has mode 0{mode:o}, others can read it: chmod 600 .*/s$"):
        config.secret("FTRACE_FARM_NONE", str(tmp_path / "s"), "key")


def test_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    assert config.secret("FTRACE_FARM_NONE", str(file), "key") == SECRET
    monkeypatch.setenv("FTRACE_FARM_NONE", "other")
    assert config.secret("FTRACE_FARM_NONE", str(file), "key") == "other"
    monkeypatch.delenv("FTRACE_FARM_NONE")
    assert config.secret("FTRACE_FARM_NONE", None, "key") is None
    with pytest.raises(UsageError, match="nix: No such file or directory; or set \\$FTRACE_FARM_NONE"):
        config.secret("FTRACE_FARM_NONE", str(tmp_path / "nix"), "key")
    for text in (b"", b"\n", b"two\nlines", b"\xff\xfe"):
        file.write_bytes(text)
        with pytest.raises(UsageError, match="must hold the secret as one line of text"):
            config.secret("FTRACE_FARM_NONE", str(file), "key")


# Mail, by sendmail.


@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    """A program that keeps what it was given, as a mail system would."""
    script = tmp_path / "sendmail"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/sent\n')
    script.chmod(0o755)
    return script


def by_sendmail(script: Path) -> Mail:
    return Mail(to=["you@example.org", "me@example.org"], sender="farm@example.org", sendmail=str(script))


def test_sendmail(tmp_path: Path, sendmail: Path) -> None:
    said = told(tmp_path, FAILS, PASSES)
    done = telling.tell(said, Config(mail=by_sendmail(sendmail)))
    assert done == [f"you@example.org, me@example.org through {sendmail}"]
    assert (tmp_path / "words").read_text() == "-i -f farm@example.org -- you@example.org me@example.org\n"
    sent = email.message_from_bytes((tmp_path / "sent").read_bytes(), policy=email.policy.default)
    assert isinstance(sent, EmailMessage)
    assert sent["Subject"] == "[farm] WORSE: 1 new failure (20260101-000000)"
    assert sent.get_content() == message.body(said)
    assert (tmp_path / "sent").read_bytes().isascii()


def test_sendmail_that_fails(tmp_path: Path, sendmail: Path) -> None:
    sendmail.write_text("#!/bin/sh\ncat > /dev/null\necho queue is full >&2\nexit 75\n")
    said = told(tmp_path, FAILS, PASSES)
    with pytest.raises(FarmError) as error:
        telling.tell(said, Config(mail=by_sendmail(sendmail)))
    assert "exited with 75\nqueue is full" in str(error.value)
    assert f"the verdicts are safe; once it is mended: farm tell {tmp_path}" in str(error.value)
    with pytest.raises(FarmError, match=r"nix: no such program; install one or configure mail\.smtp"):
        telling.tell(said, Config(mail=by_sendmail(tmp_path / "nix")))


def test_nothing_is_sent_where_nothing_changed(tmp_path: Path, sendmail: Path) -> None:
    said = told(tmp_path, FAILS, FAILS)
    assert telling.tell(said, Config(mail=by_sendmail(sendmail))) == []
    assert not (tmp_path / "sent").exists()
    assert len(telling.tell(said, Config(mail=by_sendmail(sendmail)), always=True)) == 1
    (tmp_path / "sent").unlink()
    assert len(telling.tell(said, Config(mail=by_sendmail(sendmail), when="always"))) == 1
    assert (tmp_path / "sent").exists()


# Mail, by SMTP.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for this host, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class Handler:
    """What a mail server keeps, and whom it refuses."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refuse = ""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refuse:
            return self.refuse
        self.envelopes.append(envelope)
        return "250 OK"


class AnyPort(Controller):
    """A mail server on a port that the kernel chooses."""

    def _trigger_server(self) -> None:
        """Have it answer once, as aiosmtpd wants, at the port that it got."""
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        socket.create_connection((self.hostname, self.port)).close()


def _password(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    right = data.password == SECRET.encode()
    return AuthResult(success=right, handled=right)


@pytest.fixture
def server(certificate: Path) -> Iterator[Callable[..., tuple[Handler, dict[str, Any]]]]:
    """Starts mail servers: what they keep, and what tell.yaml says of them."""
    running: list[Controller] = []

    def start(security: str = "starttls", login: bool = True) -> tuple[Handler, dict[str, Any]]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        handler = Handler()
        wanted: dict[str, Any] = {"authenticator": _password, "auth_required": True} if login else {}
        if security == "starttls":
            wanted |= {"tls_context": context, "require_starttls": True}
        elif security == "tls":
            wanted |= {"ssl_context": context, "auth_require_tls": False}
        controller = AnyPort(handler, hostname="127.0.0.1", port=0, **wanted)
        controller.start()
        running.append(controller)
        known: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": controller.port,
            "security": security,
            "ca_file": str(certificate),
        }
        return handler, known | ({"user": "farm"} if login else {})

    yield start
    for controller in running:
        controller.stop()


def by_smtp(settings: dict[str, Any], *to: str) -> Config:
    return Config(mail=Mail(to=list(to or ["you@example.org"]), sender="farm@example.org", smtp=Smtp(**settings)))


@pytest.mark.parametrize("security, login", [("starttls", True), ("tls", True), ("none", False)])
def test_smtp(
    tmp_path: Path, server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, security: str, login: bool
) -> None:
    handler, settings = server(security, login)
    monkeypatch.setenv(config.PASSWORD, SECRET)
    said = told(tmp_path, FAILS, PASSES)
    assert telling.tell(said, by_smtp(settings)) == ["you@example.org through 127.0.0.1"]
    (envelope,) = handler.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("farm@example.org", ["you@example.org"])
    sent = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(sent, EmailMessage)
    assert sent.get_content().replace("\r\n", "\n") == message.body(said)
    assert SECRET.encode() not in envelope.content


@pytest.mark.parametrize(
    "change, said",
    [
        ({"password": "wr0ng"}, "refused the password of farm (code 535); check it"),
        ({"ca_file": None}, "certificate verify failed"),
        ({"security": "none"}, "is that the server, and up?"),
        ({"port": 1}, "Connection refused; is that the server, and up?"),
        ({"refuse": f"554 no, {SECRET}"}, "is that the server, and up?"),
        ({"to": "nobody@example.org"}, "no such user"),
        ({"password": ""}, "mail.smtp.user: no password; name a password_file, or set $FTRACE_FARM_SMTP_PASSWORD"),
        ({"ca_file": "/nonexistent"}, "mail.smtp.ca_file: /nonexistent: "),
    ],
)
def test_smtp_that_fails(
    tmp_path: Path, server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    handler, settings = server()
    monkeypatch.setenv(config.PASSWORD, change.pop("password", SECRET))
    handler.refuse = change.pop("refuse", "")
    to = change.pop("to", "you@example.org")
    with pytest.raises(FarmError) as error:
        telling.tell(told(tmp_path, FAILS, PASSES), by_smtp(settings | change, to))
    assert said in str(error.value)
    assert f"the verdicts are safe; once it is mended: farm tell {tmp_path}" in str(error.value)
    assert SECRET not in str(error.value)
    assert "wr0ng" not in str(error.value)
    assert not handler.envelopes


def test_smtp_that_refuses_one_of_two(
    tmp_path: Path, server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = server()
    monkeypatch.setenv(config.PASSWORD, SECRET)
    with pytest.raises(FarmError, match=r"refused nobody@example\.org; the others have it"):
        telling.tell(told(tmp_path, FAILS, PASSES), by_smtp(settings, "nobody@example.org", "you@example.org"))
    assert [envelope.rcpt_tos for envelope in handler.envelopes] == [["you@example.org"]]


# Webhook.


class Web(BaseHTTPRequestHandler):
    """A web server that keeps what it gets and answers as it is told to."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def web() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Web)
    server.got, server.status = [], 200
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_webhook(tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.TOKEN, SECRET)
    said = told(tmp_path, FAILS, PASSES)
    assert telling.tell(said, Config(webhook=Webhook(url=web.url))) == ["127.0.0.1"]
    ((path, headers, body),) = web.got
    assert path == "/hook"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == message.document(said)
    assert json.loads(body)["changes"] == [
        {
            "kind": "new failure", "cell": "x86_64-regs", "suite": "slots", "test": "test_b[x]", "verdict": "FAIL",
            "reason": "arg3's slot holds 0", "last_good": None, "first_bad": None,
        }
    ]  # fmt: skip
    assert SECRET.encode() not in body


def test_webhook_whose_address_is_secret(tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.URL, f"{web.url}/{SECRET}")
    assert deliver.webhook({}, Webhook()) == "127.0.0.1"
    web.status = 500
    with pytest.raises(FarmError, match=r"^webhook: 127\.0\.0\.1: answered 500; check the url and the token$"):
        deliver.webhook({}, Webhook())
    monkeypatch.setenv(config.URL, f"http://example.org/{SECRET}")
    with pytest.raises(UsageError, match=r"^webhook\.url: http would send it in the clear; use https$"):
        deliver.webhook({}, Webhook())
    monkeypatch.delenv(config.URL)
    with pytest.raises(UsageError, match="no url; name one, or a url_file, or set"):
        deliver.webhook({}, Webhook())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_webhook_is_not_led_elsewhere(web: Any, status: int) -> None:
    web.status = status
    with pytest.raises(FarmError, match=f"answered {status}"):
        deliver.webhook({}, Webhook(url=web.url))
    assert [path for path, *_ in web.got] == ["/hook"]


def test_webhook_that_is_down(web: Any) -> None:
    port = web.server_port
    for url in ("http://127.0.0.1:1/", f"https://127.0.0.1:{port}/{SECRET}"):
        with pytest.raises(FarmError, match=r"^webhook: 127\.0\.0\.1: .*; is that the server, and up") as error:
            deliver.webhook({}, Webhook(url=url, seconds=5))
        assert SECRET not in str(error.value)


def test_one_that_fails_keeps_no_other_from_being_told(tmp_path: Path, web: Any) -> None:
    both = Config(mail=by_sendmail(tmp_path / "nix"), webhook=Webhook(url=web.url))
    with pytest.raises(FarmError, match=r"no such program(.|\n)*told: 127\.0\.0\.1\n"):
        telling.tell(told(tmp_path, FAILS, PASSES), both)
    assert len(web.got) == 1


# The command.


def a_run(results: Path, name: str, verdicts: list[VerdictRecord]) -> Path:
    (results / name).mkdir(parents=True)
    records.save_run(results / name, replace(DONE, id=name))
    for one in verdicts:
        records.append_verdict(results / name, one)
    return results / name


def farm(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", "from farm.cli import main; main()", "tell", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120
    )


def test_command(tmp_path: Path, sendmail: Path) -> None:
    results = tmp_path / "results"
    a_run(results, "20260101-000000", PASSES)
    a_run(results, "20260102-000000", FAILS)
    third = a_run(results, "20260103-000000", FAILS)
    file = written(tmp_path, f"{MAIL}  sendmail: {sendmail}\n")
    words = ["--results", str(results), "--config", str(file)]
    dry = farm("20260102-000000", *words, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.splitlines()[2:5] == [
        "Subject: [farm] WORSE: 1 new failure (20260102-000000)", "", "WORSE: 1 new failure",
    ]  # fmt: skip
    assert not (tmp_path / "sent").exists()
    told = farm("20260102-000000", *words, "-v")
    assert (told.returncode, told.stdout) == (0, f"told you@example.org through {sendmail}\n")
    assert f"+ {sendmail} -i -f farm@example.org -- you@example.org" in told.stderr
    quiet = farm(str(third), "--config", str(file))
    assert (quiet.returncode, quiet.stdout) == (0, "nothing changed, so nothing was sent\n")


def test_command_that_fails_loses_no_verdict(tmp_path: Path) -> None:
    run = a_run(tmp_path / "results", "20260101-000000", FAILS)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    smtp = "smtp: {host: 127.0.0.1, port: 1, user: farm}"
    file = written(tmp_path, f"{MAIL}  {smtp}\n")
    done = farm(str(run), "--config", str(file), "-v", **{config.PASSWORD: SECRET})
    assert done.returncode == 3
    assert "farm: mail.smtp: 127.0.0.1:1: " in done.stderr
    assert "Connection refused; is that the server, and up?" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
