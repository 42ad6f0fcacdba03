# SPDX-License-Identifier: GPL-2.0
"""Sends a message. Any failure is a FarmError that has no secret in it."""

import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from farm.base.command import CommandFailed, run
from farm.base.errors import FarmError, UsageError
from farm.tell import config
from farm.tell.config import Mail, Smtp, Webhook

#: How long the user's own sendmail may take.
SENDMAIL_SECONDS = 120


def mail(message: EmailMessage, how: Mail) -> str:
    """Send a mail, and return who took it. Raises FarmError, UsageError."""
    if how.smtp:
        return _smtp(message, how, how.smtp)
    try:
        # -i: a line with a single dot does not end the mail
        argv = [how.sendmail, "-i", "-f", how.sender, "--", *how.to]
        run(argv, stdin=message.as_string(), timeout=SENDMAIL_SECONDS)
    except CommandFailed as error:
        raise FarmError(f"mail.sendmail: {error}") from error
    except FarmError as error:
        raise FarmError(
            f"mail.sendmail: {how.sendmail}: no such program; install one or configure mail.smtp"
        ) from error
    return f"{', '.join(how.to)} through {how.sendmail}"


def _smtp(message: EmailMessage, how: Mail, server: Smtp) -> str:
    place = f"mail.smtp: {server.host}:{server.port}"
    password = config.secret(config.PASSWORD, server.password_file, "mail.smtp.password_file") if server.user else None
    if server.user and password is None:
        raise UsageError(f"mail.smtp.user: no password; name a password_file, or set ${config.PASSWORD}")
    try:
        context = ssl.create_default_context(cafile=server.ca_file)
    except OSError as error:
        raise UsageError(f"mail.smtp.ca_file: {server.ca_file}: {error}") from error
    try:
        with _connected(server, context) as client:
            if server.security == "starttls":
                client.starttls(context=context)
            if server.user and password is not None:
                client.login(server.user, password)
            refused = client.send_message(message, how.sender, how.to)
    except smtplib.SMTPAuthenticationError as error:
        # the server's own words may quote the password
        said = f"refused the password of {server.user} (code {error.smtp_code}); check it"
        raise FarmError(f"{place}: {said}") from None
    except ssl.SSLError as error:
        raise FarmError(f"{place}: {error.reason or 'TLS failed'}: {error}; see security and ca_file") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise FarmError(f"{place}: {hidden(str(error), password)}; is that the server, and up?") from None
    if refused:
        raise FarmError(f"{place}: refused {', '.join(refused)}; the others have it")
    return f"{', '.join(how.to)} through {server.host}"


def _connected(server: Smtp, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.seconds, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=server.seconds)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: the token would go to their target."""

    def redirect_request(self, *_: Any) -> None:
        return None


def webhook(document: dict[str, Any], how: Webhook) -> str:
    """Post a document, and return who took it. Raises FarmError, UsageError."""
    url = how.url or config.secret(config.URL, how.url_file, "webhook.url_file")
    if not url:
        raise UsageError(f"webhook: no url; name one, or a url_file, or set ${config.URL}")
    if trouble := config.url_trouble(url):
        raise UsageError(f"webhook.url: {trouble}")
    token = config.secret(config.TOKEN, how.token_file, "webhook.token_file")
    headers = {"Content-Type": "application/json", "User-Agent": "ftrace-farm"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    # only this part of the address is shown: the rest may be the secret
    place = f"webhook: {urlsplit(url).hostname}"
    try:
        request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=how.seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        with error:
            raise FarmError(f"{place}: answered {error.code}; check the url and the token") from None
    except urllib.error.URLError as error:
        raise FarmError(f"{place}: {hidden(str(error.reason), url, token)}; is that the server, and up?") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = hidden(f"{type(error).__name__}: {error}", url, token)
        raise FarmError(f"{place}: {said}; is that the server, and up?") from None
    return str(urlsplit(url).hostname)


def hidden(text: str, *secrets: str | None) -> str:
    """Text without the secrets."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return text
