"""What a visitor may try while the demo stays up: commands that work as they are printed."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mailforum.cli.demo import folder, story
from mailforum.units import Address

_SENDER = story.TOM

_MAIL = """\
{python} - <<'END'
import email.message, email.utils, smtplib
mail = email.message.EmailMessage()
mail["From"] = "{name} <{sender}>"
mail["To"] = "{rcpt}"
mail["Subject"] = "A mail of my own"
mail["Date"] = email.utils.localtime()
mail["Message-ID"] = email.utils.make_msgid(domain="{domain}")
mail.set_content("Hello! Who gets this?")
smtplib.SMTP("{host}", {port}, "localhost").send_message(mail)
END"""

_CURL = """\
printf 'From: <{sender}>\\nTo: <{rcpt}>\\nSubject: A mail by curl\\n\\nHello!\\n' |
  curl -sS --crlf smtp://{host}:{port} --mail-from {sender} --mail-rcpt {rcpt} -T -"""


def lines(server: Address, place: Path) -> Iterator[str]:
    """Yield what to try and where to look, for the demo in the folder `place`."""
    yield f"   Send a mail of your own, as {_SENDER.name}, who is a member:"
    yield ""
    yield from mail_command(server).splitlines()
    yield ""
    if shutil.which("curl"):
        yield "   or:"
        yield ""
        yield from _filled(_CURL, server).splitlines()
        yield ""
    yield f"   What went out lies in {place / folder.OUTBOX}/new/. What there is, in another terminal:"
    yield ""
    config = shlex.quote(str((place / folder.CONFIG).resolve()))
    for command in ("thread ls pmo", "thread show pmo 1", "post show 1.7", "member ls pmo", "queue stats"):
        yield f"{program()} --config {config} {command}"
    yield ""
    yield "   Ctrl-C ends it. What the service logs from here on:"


def mail_command(server: Address) -> str:
    """Return a shell command that sends a mail to the list, with nothing but Python."""
    return _filled(_MAIL, server)


def _filled(text: str, server: Address) -> str:
    return text.format(
        python="python3" if shutil.which("python3") else shlex.quote(sys.executable),
        name=_SENDER.name,
        sender=_SENDER.address,
        domain=_SENDER.address.partition("@")[2],
        rcpt=story.LIST,
        host=server.host,
        port=server.port,
    )


def program() -> str:
    """Return how this mailforum was called, so that it can be called again from anywhere."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m mailforum"
    found = shutil.which(called.name)
    if found and Path(found).resolve() == called.resolve():
        return shlex.quote(called.name)
    return shlex.quote(str(called.absolute()))
