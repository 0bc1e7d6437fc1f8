"""The story that the demo plays: who there is, what they send, and what should become of it.

The mails themselves are files in `mails/`, as the mail programs named here wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Literal

LIST = "pmo@lists.example.test"
TITLE = "The PMO in business-led transformation"
PREFIX = "[pmo]"
LEAVE = "pmo-leave@lists.example.test"  # stands in the footer


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who joins the list; `digest` says that they join for one mail a day."""

    name: str
    address: str
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Sends:
    """One mail of the discussion: its file, how it was written, and the mail that it answers.

    `fate` is what the list has to do with it.
    """

    mail: str
    how: str
    answers: str = ""
    fate: Literal["posted", "put away", "refused"] = "posted"

    def raw(self) -> bytes:
        """Return the mail with the CRLF line ends of the wire."""
        file = resources.files("mailforum.cli.demo") / "mails" / f"{self.mail}.eml"
        return file.read_bytes().replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Chooses:
    """A member who wants to read in another way writes the command to pmo-request@."""

    who: Person
    command: str


ANNA = Person("Anna Lindström", "anna.lindstrom@nordwind.example")
MARCUS = Person("Marcus Weber", "mw@weber-architektur.example")
PRIYA = Person("Priya Raman", "priya.raman@raman.example")
YUKI = Person("田中由紀 (Yuki Tanaka)", "yuki.tanaka@mirai.example")
TOM = Person("Tom O'Brien", "tom@obrien.example", digest=True)

PEOPLE = (ANNA, MARCUS, PRIYA, YUKI, TOM)

STORY: tuple[Sends | Chooses, ...] = (
    Sends("01-anna-outlook", "Outlook, HTML and text"),
    Sends("02-marcus-mutt", "mutt, plain text", answers="01-anna-outlook"),
    Sends("03-priya-apple-mail", "Apple Mail, with a CSV file", answers="01-anna-outlook"),
    Sends("04-yuki-gmail", "Gmail, base64", answers="03-priya-apple-mail"),
    Sends("05-anna-outlook", "Outlook, HTML only", answers="02-marcus-mutt"),
    Sends("07-priya-iphone", "iPhone, overtakes the next one", answers="06-marcus-mutt"),
    Sends("06-marcus-mutt", "mutt, was long on its way", answers="05-anna-outlook"),
    Sends("08-anna-outlook", "Outlook, full quote below", answers="04-yuki-gmail"),
    Sends("absent-priya", "sends an out-of-office reply", fate="put away"),
    Sends("stranger", "is not on the list", fate="refused"),
    Chooses(YUKI, "set digest daily"),
    Sends("09-tom-thunderbird", "Thunderbird, flowed text"),
    Sends("10-marcus-mutt", "mutt, encoded subject", answers="09-tom-thunderbird"),
    Sends("11-priya-k9", "K-9, without References", answers="09-tom-thunderbird"),
    Sends("12-tom-thunderbird", "Thunderbird, flowed text", answers="11-priya-k9"),
    Sends("13-yuki-gmail", "Gmail, quoted-printable", answers="08-anna-outlook"),
    Sends("14-anna-outlook", "Outlook, with a PDF file", answers="06-marcus-mutt"),
    Sends("15-marcus-mutt", "mutt, plain text", answers="14-anna-outlook"),
    Sends("16-priya-apple-mail", "Apple Mail, flowed text", answers="14-anna-outlook"),
)

SHOWN = "10-marcus-mutt"  # the post that is shown as it went out
