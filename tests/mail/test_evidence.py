"""What a mail says about its place among others."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import evidence, message
from mailforum.mail.evidence import Evidence, Named
from mailforum.model import How

OWN = "<own@example.org>"
LIST = "pmo@lists.example.org"
ROOT = "01d70e2ec47b9bc691913a894d9d9bf5cd612899976e"
DEEPER = "AdcOLsR7m8aRkTqJTZ2b9c1hKJmXbgAAAAAB"


def read(head: str, text: str = "text\n", own: str = OWN, under: str = "") -> Evidence:
    raw = f"From: Ada <ada@example.org>\nTo: {LIST}\n{head}\n\n{text}".replace("\n", "\r\n").encode()
    return evidence.read(message.parse(raw), own, prefix="[pmo]", under=under, address=LIST)


def named(head: str, text: str = "text\n") -> list[tuple[str, str]]:
    return [(one.name, one.how.label) for one in read(head, text).names]


def test_the_nearest_comes_first_from_whatever_field() -> None:
    head = f"In-Reply-To: <c@x>\nReferences: <a@x> <b@x>\n <c@x>\nThread-Index: {DEEPER}"
    token = Named("<token@x>", How.TOKEN)
    assert read(head, under="<Token@x>").names == (
        token,
        Named("<c@x>", How.IN_REPLY_TO),
        Named("<b@x>", How.REFERENCES),
        Named("<a@x>", How.REFERENCES),
        Named(f"ti:{ROOT}", How.THREAD_INDEX),
    )


def test_ids_are_compared_without_case_and_never_name_the_mail_itself() -> None:
    assert named("References: <A@X.ORG> <a@x.org> <OWN@example.org> <B@x.org>") == [
        ("<b@x.org>", "references"),
        ("<a@x.org>", "references"),
    ]


def test_an_address_that_the_mail_itself_bears_is_no_id() -> None:
    assert named("Cc: Bob <bob@example.org>\nIn-Reply-To: Bob <bob@example.org>") == []
    assert named("In-Reply-To: <ada@example.org>\nReferences: <a@x>") == [("<a@x>", "references")]
    assert named("In-Reply-To: <a@example.org>") == [("<a@example.org>", "in-reply-to")]


def test_answers_to_a_digest_or_a_notice_of_ours_do_not_belong_together() -> None:
    assert named("In-Reply-To: <digest.4.77.pmo@lists.example.org>") == []
    assert named("In-Reply-To: <notice.4.1700000000@lists.example.org>") == []
    assert named("In-Reply-To: <digest.4.77.other@example.org>") != []


@pytest.mark.parametrize(
    "head",
    [
        "In-Reply-To: <digest.4.77.pmo@lists.example.org>\nSubject: Re: PMO: Zusammenfassung 4",
        "Subject: Re: PMO: digest 4, 2 new posts",
        "Subject: Re: Pmo Digest, Vol 12, Issue 3",
    ],
)
def test_the_subject_of_an_answer_to_a_digest_says_nothing(head: str) -> None:
    assert read(head).base == ""


def test_at_most_fifty_names_the_nearest_are_kept_and_the_first_of_all() -> None:
    names = named("References: " + " ".join(f"<{number}@x>" for number in range(10_000)))
    assert [name for name, _ in names] == [f"<{number}@x>" for number in (*range(9_999, 9_950, -1), 0)]


def test_of_a_long_index_the_nearest_ten_count_and_the_first() -> None:
    index = bytes.fromhex(ROOT) + bytes(range(5)) * 30
    names = named("Thread-Index: " + base64.b64encode(index).decode())
    assert [len(name) // 2 for name, _ in names] == [1 + 22 + 5 * steps for steps in (*range(29, 20, -1), 0)]


def test_the_text_is_looked_at_only_where_the_header_names_nothing() -> None:
    text = "In article <1234@x.org>, Al wrote:\n> words\n"
    assert named("Subject: Re: x", text) == [("<1234@x.org>", "text")]
    assert named("In-Reply-To: <a@x>\nSubject: Re: x", text) == [("<a@x>", "in-reply-to")]


def test_whether_it_quotes_is_known_where_an_answer_has_a_new_subject() -> None:
    assert not read("In-Reply-To: <a@x>\nSubject: New").quotes
    assert read("In-Reply-To: <a@x>\nSubject: New", "> old\n\nnew\n").quotes
    assert read("In-Reply-To: <a@x>\nSubject: Re: Old").quotes
    assert read("Subject: New").quotes


def test_the_subject_is_taken_apart() -> None:
    found = read("Subject: =?utf-8?q?AW:_[pmo]_Gr=C3=BC=C3=9Fe_=28was:_Re:_Alt=29?=")
    assert (found.base, found.was, found.marked) == ("grüsse", "alt", True)


def test_what_a_reply_was_about_is_also_in_its_thread_topic() -> None:
    assert read("Subject: [EXTERNAL] RE: Budget\nThread-Topic: Budget").was == "budget"
    assert read("Subject: RE: Budget\nThread-Topic: [pmo] Budget").was == ""
    assert read("Subject: RE: Money (was: Lunch)\nThread-Topic: Budget").was == "lunch"
    assert read("Subject: Money\nThread-Topic: Budget").was == "", "it begins something"


_MARKS = [*'<>@"(),;: .\\é\0', "\n ", "a1", "b", "from", "of", "Re:", "[pmo]", "(was: x)", "wrote:", "#48.3", LIST]
_IDS = ["<a1@b>", "=?utf-8?q?=3Ca1@b=3E?=", "Message-ID: <a1@b>", "In article <a@b>"]
_soup = st.lists(st.sampled_from(_MARKS) | st.sampled_from(_IDS) | st.characters(codec="utf-8"), max_size=30).map(
    "".join
)
_FIELDS = ("Message-ID", "In-Reply-To", "References", "Thread-Index", "Subject", "From", "To")


@given(st.lists(st.tuples(st.sampled_from(_FIELDS), _soup), max_size=8), _soup)
def test_a_header_of_anything_is_read(fields: list[tuple[str, str]], text: str) -> None:
    raw = "".join(f"{name}: {value}\n" for name, value in fields) + f"\n{text}\n"
    msg = message.parse(raw.encode())
    found = evidence.read(msg, msg.message_id or OWN, prefix="[pmo]", address=LIST)
    names = [name for name, _ in found.names]
    assert len(names) == len(set(names)) <= 50
    assert (msg.message_id or OWN).lower() not in names
    assert all(name == name.lower() for name in names if name.isascii())
    assert list(found.names) == sorted(found.names, key=lambda one: one.how)
    assert found == evidence.read(msg, msg.message_id or OWN, prefix="[pmo]", address=LIST)


def test_a_header_full_of_ids_and_addresses_takes_linear_time() -> None:
    ids = "".join(f"In-Reply-To: {'<a@b>' * 3_000}\n" for _ in range(7))
    start = time.process_time()
    read(f"Cc: {'<a@b>' * 4_000}\nSender: {'a@b ' * 5_000}\n{ids}Subject: Re: x")
    assert time.process_time() - start < 0.3


_LINES = [
    "a wrote:\n",
    "\n",
    "From: a\n",
    f"#1.1\n{LIST}\n",
    "> ",
    "in <",
    "In article <a@",
    "#1.1 ",
    "Message-ID: <",
    "news:",
]


@pytest.mark.parametrize("line", _LINES)
def test_hostile_texts_take_linear_time(line: str) -> None:
    text = line * (200_000 // len(line))
    start = time.process_time()
    read("Subject: Re: x", text + "\n<a@b>\n> x")
    read("Subject: x\nIn-Reply-To: <a@b>", text)
    assert time.process_time() - start < 0.3
