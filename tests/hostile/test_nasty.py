"""Every nasty mail is taken whole or refused with a reason, and harms nobody but itself."""

import asyncio
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from itertools import takewhile
from operator import eq

import pytest

from tests.hostile.nasty import table
from tests.hostile.play import DIGESTED, LISTS, READER, Played, play
from tests.hostile.structure import FALSE_ENDS
from tests.support.sink import Mail

TABLE = {nasty.name: nasty for nasty in table()}
TAKEN = [nasty for nasty in TABLE.values() if nasty.taken]
LONGEST_STALL = 2.0  # seconds; some 0.1 on an idle machine
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return asyncio.run(play(tmp_path_factory.mktemp("hostile"), table()))


@pytest.mark.parametrize("name", TABLE)
def test_a_nasty_mail_is_answered_as_decided(name: str, played: Played) -> None:
    for mlist in LISTS:
        tried = played.tried[name, mlist]
        assert tried.answer.startswith(TABLE[name].answer), mlist
        assert tried.rest.startswith("221 "), "the dialogue went astray"


def test_behind_each_of_them_a_plain_mail_is_taken_soon(played: Played) -> None:
    assert all(tried.plain.startswith("250 ") for tried in played.tried.values() if tried.plain)
    assert sum(bool(tried.plain) for tried in played.tried.values()) == len(TABLE)
    assert max(tried.plain_after for tried in played.tried.values()) < 5


def test_none_of_them_stops_the_others_for_long(played: Played) -> None:
    assert not {name: stall for name, stall in played.stalls.items() if stall > LONGEST_STALL}


def test_none_of_them_finds_a_fault_of_ours(played: Played) -> None:
    assert played.shunted == []
    assert played.errors == []


def test_whatever_is_in_a_mail_an_event_in_the_log_is_one_plain_line(played: Played) -> None:
    lines = [line for record in played.log for line in record.split("\n")]
    assert len(lines) > 4 * len(TABLE)
    assert all(re.fullmatch(r"event=[a-z_]+(?: [a-z_]+=[ -~]*)?", line) for line in lines)


def test_a_mail_within_a_mail_stays_there(played: Played) -> None:
    for mlist in LISTS:
        assert len(played.posts[mlist]) == len(played.arrived[mlist]) == len(TAKEN)
        assert not any(post["from"] != "ada@example.org" for post in played.posts[mlist])
    for end in FALSE_ENDS:
        for kind in ("smuggled", "pipelined"):
            mail = _arrived(played, "pmo")[f"{kind}-{end}"]
            assert mail.rcpts == (READER.format("pmo"),)
            assert mail.data.endswith(b"\r\nSmuggled.\r\n")


def test_what_was_taken_arrives_whole(played: Played) -> None:
    arrived = _arrived(played, "pmo")
    for nasty in TAKEN:
        got = arrived[nasty.name]
        body = _normal(nasty.data).partition(b"\r\n\r\n")[2].replace(b"LIST", b"pmo@lists.example.test")
        assert got.data.endswith(body), nasty.name


def test_what_was_taken_arrives_with_prefix_and_footer_too(played: Played) -> None:
    arrived = _arrived(played, "dev")
    for nasty in TAKEN:
        got = arrived[nasty.name]
        body = _normal(nasty.data).partition(b"\r\n\r\n")[2].replace(b"LIST", b"dev@lists.example.test")
        assert body in got.data or _parted(body, got.data), nasty.name


def _parted(body: bytes, data: bytes) -> bool:
    """Whether `body` is all there, with one more part before its end."""
    pairs = zip(body, data.partition(b"\r\n\r\n")[2], strict=False)
    begins = sum(1 for _ in takewhile(lambda pair: eq(*pair), pairs))
    return begins > 0 and data.endswith(body[begins:])


def _arrived(played: Played, mlist: str) -> dict[str, Mail]:
    """The mails that the reader got, by their names."""
    named = {_name(mail): mail for mail in played.arrived[mlist]}
    assert named.keys() == {nasty.name for nasty in TAKEN}
    return named


def _name(mail: Mail) -> str:
    found = re.search(rb"(?m)^X-Nasty: (\S+)\r$", mail.data.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert found
    return found[1].decode()


def _normal(data: bytes) -> bytes:
    """The mail as RFC 5322 wants it; written otherwise than in `message.normalise`."""
    sent = data if data.endswith(b"\r\n") else data + b"\r\n"
    unstuffed = re.sub(rb"(\A|\r\n)\.", rb"\1", sent).replace(b"\0", b"")
    return re.sub(rb"\r\n|\r|\n", b"\r\n", unstuffed)


@pytest.mark.parametrize("name", ["date-none", "date-empty", "id-none", "id-empty", "id-brackets"])
def test_a_mail_leaves_with_one_date_and_one_id_if_it_came_with_none(name: str, played: Played) -> None:
    head = _arrived(played, "pmo")[name].data.partition(b"\r\n\r\n")[0]
    assert len(re.findall(rb"(?m)^Date: \S", head)) == len(re.findall(rb"(?m)^Date:", head)) == 1
    assert len(re.findall(rb"(?m)^Message-ID: \S", head)) == len(re.findall(rb"(?m)^Message-ID:", head)) == 1


def test_no_bare_line_end_and_no_nul_leaves(played: Played) -> None:
    for mail in (mail for mlist in LISTS for mail in (*played.arrived[mlist], *played.digests[mlist])):
        assert mail.data.count(b"\r") == mail.data.count(b"\n") == mail.data.count(b"\r\n")
        assert b"\0" not in mail.data


def test_no_header_field_comes_out_of_what_was_encoded(played: Played) -> None:
    for mail in (mail for mlist in LISTS for mail in (*played.arrived[mlist], *played.digests[mlist])):
        head = mail.data.partition(b"\r\n\r\n")[0]
        assert not re.search(rb"(?im)^(x-injected|bcc):", head)


@pytest.mark.parametrize("mlist", LISTS)
def test_the_digest_has_them_all(mlist: str, played: Played) -> None:
    text, _ = _digest(played, mlist)
    lines = {line.partition("  ")[0] for line in text.splitlines()}
    assert {f"#{post['id']}" for post in played.posts[mlist]} <= lines
    assert not re.search(r"(?im)^(x-injected|bcc):", text)
    assert text.count("{{ 7*7 }}") >= 3
    assert "{% raw %}" in text


@pytest.mark.parametrize("mlist", LISTS)
def test_the_digest_as_html_shows_what_members_wrote_and_obeys_none_of_it(mlist: str, played: Played) -> None:
    _, html = _digest(played, mlist)
    page = _Page()
    page.feed(html)
    assert page.tags <= {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "div",
        "p",
        "a",
        "br",
        "h1",
        "h2",
        "span",
        "strong",
        "em",
    }
    assert page.attributes <= {"style", "href", "id", "name", "lang", "charset", "content", "class"}
    assert {re.split("[:#]", link)[0] for link in page.links} <= {"https", "http", "mailto", ""}
    assert not any("expression" in style for style in page.styles)
    assert "&lt;script&gt;" in html
    assert html.count("{{ 7*7 }}") >= 3


def _digest(played: Played, mlist: str) -> tuple[str, str]:
    """The digest's plain text and its HTML."""
    (mail,) = played.digests[mlist]
    assert mail.rcpts == (DIGESTED.format(mlist),)
    parsed = message_from_bytes(mail.data, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    text, html = parsed.iter_parts()
    return str(text.get_content()), str(html.get_content())


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.styles: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href"}
        self.styles |= {value or "" for name, value in attrs if name == "style"}


def test_each_can_be_read_on_the_terminal_and_does_nothing_to_it(played: Played) -> None:
    assert len(played.shown) == len(TAKEN)
    for label, shown in played.shown.items():
        assert shown.isascii() or not BIDI.search(shown.partition("\n\n")[0]), label
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown), label


def test_they_can_be_exported_and_imported_again(played: Played) -> None:
    for answer in played.archived.values():
        assert (answer.code, answer.err) == (0, "")
    assert len(played.archived["copied"].out.splitlines()) == len(TAKEN)


def test_names_are_shown_without_what_turns_the_direction_of_writing(played: Played) -> None:
    for post in _posts(played):
        assert not BIDI.search(f"{post['name']} {post['subject']}")
        assert "\n" not in f"{post['name']}{post['subject']}"


def test_no_clock_of_an_author_is_believed_that_is_of_the_future(played: Played) -> None:
    assert all(str(post["date"]) <= str(post["received"]) for post in _posts(played))


def _posts(played: Played) -> Iterator[dict[str, object]]:
    for mlist in LISTS:
        yield from played.posts[mlist]
