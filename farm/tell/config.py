# SPDX-License-Identifier: GPL-2.0
"""tell.yaml: to whom results are sent, when and how. docs/telling.md describes it."""

import os
import stat
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field

from farm.base import strict
from farm.base.errors import UsageError

#: The environment variables that may have the secrets, instead of files.
PASSWORD, TOKEN, URL = "FTRACE_FARM_SMTP_PASSWORD", "FTRACE_FARM_WEBHOOK_TOKEN", "FTRACE_FARM_WEBHOOK_URL"

#: The most bytes that are read of a secret: it is one line.
SECRET_BYTES = 4096

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_Line = Annotated[str, strict.form(r"[^\x00-\x1f\x7f]+", "one line of text")]
_Address = Annotated[
    str, strict.form(r"[^\x00-\x20\x7f@<>,;]+@[^\x00-\x20\x7f@<>,;]+", "an address, as you@example.org")
]


class Smtp(strict.Strict):
    """A mail server. With a `user`, the password comes from $FTRACE_FARM_SMTP_PASSWORD or
    `password_file`. `seconds` is the limit for each answer of the server."""

    host: _Line
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: _Line | None = None
    user: _Line | None = None
    password_file: _Line | None = None
    seconds: int = Field(default=30, ge=1, le=600)


class Mail(strict.Strict):
    """A mail, through `smtp` or else the user's own `sendmail`."""

    to: list[_Address] = Field(min_length=1)
    sender: _Address
    sendmail: _Line = "/usr/sbin/sendmail"
    smtp: Smtp | None = None


class Webhook(strict.Strict):
    """A POST of JSON. If the `url` itself is a secret, it comes from $FTRACE_FARM_WEBHOOK_URL or
    `url_file`. A bearer token comes from $FTRACE_FARM_WEBHOOK_TOKEN or `token_file`."""

    url: _Line | None = None
    url_file: _Line | None = None
    token_file: _Line | None = None
    seconds: int = Field(default=30, ge=1, le=600)


class Config(strict.Strict):
    """The whole file. `when` says whether only changes are sent, or every run."""

    when: Literal["changed", "always"] = "changed"
    mail: Mail | None = None
    webhook: Webhook | None = None


def default() -> Path:
    """The path of the file, unless the user names another one."""
    return platformdirs.user_config_path("ftrace-farm") / "tell.yaml"


def load(path: Path) -> Config:
    """The configuration. Raises a UsageError that names file, line and key."""
    if not path.exists():
        raise UsageError(f"{path}: no such file: docs/telling.md says what to write there")
    root, config = strict.read(path, Config)
    if not config.mail and not config.webhook:
        raise UsageError(strict.complaint(path, root, (), "neither mail nor webhook: no message could be sent"))
    smtp = config.mail.smtp if config.mail else None
    if smtp and smtp.user and smtp.security == "none" and smtp.host not in LOOPBACK:
        text = f"none would send the password of {smtp.user} to {smtp.host} in the clear; use starttls or tls"
        raise UsageError(strict.complaint(path, root, ("mail", "smtp", "security"), text))
    if config.webhook and config.webhook.url and config.webhook.url_file:
        raise UsageError(strict.complaint(path, root, ("webhook", "url_file"), "there is a url already"))
    if config.webhook and config.webhook.url:
        text = url_trouble(config.webhook.url)
        if text:
            raise UsageError(strict.complaint(path, root, ("webhook", "url"), text))
    return config


def url_trouble(url: str) -> str:
    """What is wrong with a webhook's address, without revealing it; empty if nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "no URL"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "must be https://HOST/…"
    if parts.username or parts.password:
        return "has a password in it; give a token by token_file instead"
    if parts.scheme == "http" and host not in LOOPBACK:
        return "http would send it in the clear; use https"
    return ""


def secret(variable: str, file: str | None, key: str) -> str | None:
    """A secret from the environment, or else from a file that only the user can read. None
    if neither is named. `key` is the file's key, for complaints. Raises UsageError."""
    if value := os.environ.get(variable):
        return value
    if not file:
        return None
    path = Path(os.path.expanduser(file))
    try:
        with path.open("rb") as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{key}: {path} is no file")
            if status.st_uid != os.getuid():
                raise UsageError(f"{key}: {path} is not yours: chown {os.getuid()} {path}")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise UsageError(f"{key}: {path} has mode {mode:04o}, others can read it: chmod 600 {path}")
            text = handle.read(SECRET_BYTES)
    except OSError as error:
        raise UsageError(f"{key}: {path}: {error.strerror}; or set ${variable}") from error
    try:
        value = text.decode().strip()
    except UnicodeDecodeError:
        value = ""
    if not value or not value.isprintable():
        raise UsageError(f"{key}: {path} must hold the secret as one line of text")
    return value
