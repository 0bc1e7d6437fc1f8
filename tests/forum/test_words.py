"""What of a mail can be found, word for word."""

from __future__ import annotations

import base64
import hashlib

import pytest

from mailforum.forum import search
from mailforum.mail import message, subject
from mailforum.store.match import EACH, WITH_FILE

HTML = "<style>p {}</style><p>Caf&eacute; <b>au</b> lait</p><blockquote>quoted</blockquote><a href='http://x.example/'>link</a>"
MAILS = {
    "plain": b"From: Ada Lovell <ada@example.org>\nSubject: Re: [pmo] Budget\n\nHello all,\nit's here.\n",
    "nothing": b"Subject:\n\n\n",
    "no author": b"From: a@x.example, b@y.example\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\n\nx\n",
    "latin-1": b"Content-Type: text/plain; charset=iso-8859-1\n\nStra\xdfe und \xd8l\n",
    "html": b"Content-Type: text/html; charset=utf-8\n\n" + HTML.encode() + b"\n",
    "base64": b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    + base64.b64encode("来週の会議は月曜日です。한국어를".encode()),
    "flowed": b"Content-Type: text/plain; format=flowed\n\nOne line \nand its end.\n> a quote \n> goes on\n",
    "reply": b"In-Reply-To: <1@example.org>\n\nYes.\n\nOn Monday 1 Jan, Bob wrote:\n> the question\n\n-- \nAda\n",
    "outlook": b"References: <1@example.org>\n\nYes.\n\n-----Original Message-----\nFrom: Bob\nSent: Monday\n\nOld\n",
    "forward": b"In-Reply-To: <1@example.org>\nSubject: Fwd: x\n\nSee:\n> the question\n",
    "long signature": b"\nText\n-- \n" + b"a line\n" * 12,
    "file": b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nwith a file\n--b\n'
    b"Content-Type: application/pdf; name=Plan_2024.pdf\n\n%PDF\n--b--\n",
    "both": b'Content-Type: multipart/alternative; boundary="b"\n\n--b\n\nthe plain one\n--b\n'
    b"Content-Type: text/html\n\n<p>the other one\n--b--\n",
    "sealed": b'Content-Type: multipart/encrypted; boundary="b"\nSubject: s\n\n--b\n\nsecret\n--b--\n',
    "uuencoded": b"\nbegin 644 a\nM" + b"#" * 60 + b"\n`\nend\n",
    "not closed": b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\ncut off',
}
TEXTS = {
    "plain": "hello all,\nit's here.",
    "latin-1": "strasse und ol",
    "html": "cafe au lait\n> quoted\nlink <http://x.example/>",
    "base64": " 来週 週の の会 会議 議は は月 月曜 曜日 日で です す   한국 국어 어를 를 ",
    "flowed": "one line and its end.\n> a quote goes on",
    "reply": "yes.",
    "outlook": "yes.",
    "forward": "see:\n> the question",
    "file": "with a file",
    "both": "the plain one",
    "sealed": "",
    "not closed": "cut off",
}


@pytest.mark.parametrize("name", TEXTS)
def test_of_a_text_is_found_what_its_author_wrote(name: str) -> None:
    assert search.words_of(MAILS[name]).text.strip("\n") == TEXTS[name]


def test_subjects_authors_and_files_are_found() -> None:
    plain, odd, file = (search.words_of(MAILS[name]) for name in ("plain", "no author", "file"))
    assert (plain.subject, plain.author) == ("[pmo] budget", "ada lovell ada@example.org")
    assert (odd.subject, odd.author) == ("grosse", "a@x.example, b@y.example")
    assert (plain.files, file.files) == (EACH, f"plan_2024.pdf {EACH} {WITH_FILE}")


def test_of_a_very_large_mail_the_first_two_mebibytes_are_read_whoever_reads_it() -> None:
    file = b"--b\nContent-Type: image/png; name=%s.png\nContent-Transfer-Encoding: base64\n\n"
    raw = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nSee below.\n'
    raw = message.normalise(raw + file % b"first" + b"QUJD\n" * 500_000 + file % b"second" + b"--b--\n")
    found = search.words_of(raw)
    assert (found.text, found.files) == ("see below.", f"first.png {EACH} {WITH_FILE}")
    assert search.words_of(raw, message.read(raw)) == found


def test_what_is_found_of_a_mail_changes_only_with_the_rules() -> None:
    """If this fails, raise RULES in forum/search.py and put the new mark here. What is in an index can only be taken
    out with the very same words: it is made anew then."""
    marker_words = sorted(word for row in subject.REPLY_MARKERS.values() for word in row)
    samples = [MAILS[name] for name in sorted(MAILS)] + [f"Subject: {word}: x\n\n".encode() for word in marker_words]
    mark = hashlib.sha256(repr([tuple(search.words_of(raw)) for raw in samples]).encode()).hexdigest()[:16]
    assert (search.RULES.partition(" ")[0], mark) == ("1", "d73c10c4eff272fa")
