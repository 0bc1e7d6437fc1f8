"""Full-text search: what is found, in which order, and that the index is always that of the posts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailforum.errors import Refused
from mailforum.forum import archive, posts, search
from mailforum.forum.archive import Mail
from mailforum.forum.query import parse
from mailforum.forum.search import Found
from mailforum.mail import body, message
from mailforum.model import MailingList
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import search as index
from mailforum.store.connection import connect
from mailforum.store.database import Database, Tx
from mailforum.store.opening import is_server, open_database
from tests.support.archive import letters
from tests.support.clock import ShiftedClock

NOW = 1_700_000_000.0
DAY = 86400.0


@dataclass
class Forum:
    """A database with one list."""

    store: str
    db: Database
    mlist: MailingList

    async def post(self, text: str, *, name: str = "", fields: str = "", age: float = 0) -> str:
        """Post a mail of `age` days ago; return its label."""
        raw = f"{fields}\nMessage-ID: <{name or hash((text, fields, age))}@example.org>\n\n{text}\n".lstrip("\n")
        msg, data = posts.parse(raw.encode())
        return (await self.db.write(lambda tx: posts.accept(tx, self.mlist, msg, data, NOW - age * DAY))).label

    async def found(self, text: str, **how: bool) -> list[str]:
        """Return the labels of what is found, the best first."""
        return [hit.post.label for hit in (await self.find(text, **how)).hits]

    async def find(self, text: str, limit: int = 50, skip: int = 0, **how: bool) -> Found:
        await search.catch_up(self.db, 100_000)
        wanted = parse(text)
        return await self.db.read(lambda tx: search.find(tx, self.mlist, wanted, limit, skip, **how))

    async def take_in(self, raws: Iterable[bytes]) -> None:
        mails = [Mail(str(number), raw) for number, raw in enumerate(raws)]
        await archive.take_in(self.db, self.mlist, mails, ShiftedClock())

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Return what statements find that only tests need."""
        if is_server(self.store):
            with psycopg.connect(self.store) as server:
                return server.execute(POSTGRES[name]).fetchall()
        with contextlib.closing(connect(Path(self.store.removeprefix("sqlite:")))) as file:
            *before, last = SQLITE[name].split(";")
            for statement in before:
                file.execute(statement)
            return [tuple(row) for row in file.execute(last).fetchall()]

    def tokens(self) -> list[tuple[int, str, str, int]]:
        """Return all that is in the index: (post, word, field, where)."""
        return self.rows("tokens")

    def healthy(self) -> bool:
        return self.rows("astray") == []


SQLITE = {
    "tokens": """INSERT INTO full_text (full_text) VALUES ('integrity-check');
        CREATE VIRTUAL TABLE temp.word USING fts5vocab(main, full_text, instance);
        SELECT post_id, term, col, "offset" FROM word LEFT JOIN indexed ON entry = doc ORDER BY 1, 2, 3, 4""",
    "astray": """SELECT id FROM full_text_docsize WHERE id NOT IN (SELECT entry FROM indexed WHERE entry NOT NULL)
        UNION SELECT entry FROM indexed WHERE entry NOT IN (SELECT id FROM full_text_docsize)""",
    "lose": "DELETE FROM body WHERE post_id = 1",
}
POSTGRES = {
    "tokens": """SELECT post_id, lexeme, weight, place
        FROM full_text LEFT JOIN indexed USING (entry), unnest(words), unnest(positions, weights) AS at (place, weight)
        ORDER BY post_id, lexeme COLLATE "C", weight, place""",
    "astray": "SELECT entry FROM full_text FULL JOIN indexed USING (entry) WHERE words IS NULL OR post_id IS NULL",
    "lose": "DELETE FROM body WHERE post_id = 1 RETURNING 1",
}


@pytest.fixture
async def forum(store: str) -> AsyncIterator[Forum]:
    db = await open_database(store)
    list_id = await db.write(lambda tx: lists.add(tx, "pmo@lists.example.org", "", ListSettings(), NOW))
    mlist = await db.read(lambda tx: lists.by_id(tx, list_id or 0))
    assert mlist
    forum = Forum(store, db, mlist)
    yield forum
    await forum.db.close()


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Die Größe der Straße", "grosse STRASSE"),
        ("Żółć i gęś", "zolc ges"),
        ("Meet me at the café.", "CAFE"),
        ("来週の会議は月曜日です。", "会議"),
        ("来週の会議は月曜日です。", "曜日で"),
        ("黒い猫がいる", "猫"),
        ("我们明天开会", "开会"),
        ("한국어를 배워요", "한국어"),
        ("เรียนภาษาไทย", "ภาษา"),
        ("שָׁלוֹם לכם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("Привет, ёлка", "елка"),
        ("see http://x.example/a_b?c=1", "http://x.example/a_b"),
        ("call foo_bar(1)", "foo_bar"),
    ],
)
async def test_words_of_all_kinds_are_found(forum: Forum, text: str, asked: str) -> None:
    label = await forum.post(text)
    await forum.post("another one 会い 議 言葉 猿")
    assert await forum.found(asked) == [label]


async def test_what_is_asked_for_in_a_field_is_looked_for_there(forum: Forum) -> None:
    ada = await forum.post("The budget.", fields="From: Ada Lovell <ada@example.org>\nSubject: Summer")
    bob = await forum.post("Ada, when is summer?", fields="From: Bob <bob@example.com>\nSubject: Budget for 2024")
    assert await forum.found("author:ada") == [ada]
    assert await forum.found('from:"Ada Lovell"') == [ada]
    assert await forum.found("author:ada@example.org") == [ada]
    assert await forum.found("subject:budget") == [bob]
    assert await forum.found("-subject:budget") == [ada]
    assert await forum.found("budget") == [bob, ada], "a word of the subject says more"
    assert await forum.found("lovell OR 2024 -summer") == []
    assert sorted(await forum.found("lovell OR 2024")) == sorted([ada, bob])
    assert await forum.found("bud* author:bob") == [bob]


async def test_days_threads_and_files_narrow_a_search(forum: Forum) -> None:
    file = "Content-Type: application/pdf; name=Größe.pdf\nContent-Disposition: attachment"
    old = await forum.post("plan", age=400)
    new = await forum.post("plan", name="new")
    reply = await forum.post(
        "plan\n> the quoted one", fields="In-Reply-To: <new@example.org>\nDate: Sat, 1 Jan 2022 10:00:00 +0000"
    )
    pdf = await forum.post("JVBERi0=", fields=f"Subject: plan\n{file}")
    assert await forum.found("plan since:2023-10", newest=True) == [pdf, new]
    assert await forum.found("plan until:2022") == [old, reply]
    assert await forum.found("plan since:2022-01-01 until:2022-01-01") == [reply]
    assert await forum.found(f"plan thread:{new.partition('.')[0]}") == [new, reply]
    assert await forum.found(f"thread:#{new}") == [new, reply]
    assert await forum.found("plan thread:99") == []
    assert await forum.found("has:attachment") == [pdf]
    assert await forum.found("grosse.pdf") == [pdf]
    assert len(await forum.found("plan -has:attachment")) == 3
    assert await forum.found("since:2023", newest=True) == [pdf, new]


async def test_a_reply_is_not_found_by_what_it_quotes_and_a_forward_is(forum: Forum) -> None:
    quoted = "Agreed.\n\nOn Monday, 1 Jan 2024, Ada wrote:\n> the budget\n\n-- \nmy signature"
    reply = await forum.post(quoted, fields="In-Reply-To: <1@example.org>\nSubject: Re: x")
    forward = await forum.post(quoted, fields="References: <1@example.org>\nSubject: Fwd: x")
    assert await forum.found("budget") == [forward]
    assert sorted(await forum.found("agreed")) == [reply, forward]
    assert await forum.found("signature") == []


async def test_of_what_is_encrypted_only_the_subject_is_found(forum: Forum) -> None:
    sealed = 'Content-Type: multipart/encrypted; boundary="b"; protocol="application/pgp-encrypted"\nSubject: Sealed'
    text = "--b\nContent-Type: application/octet-stream; name=secret.asc\n\nciphertext\n--b--"
    label = await forum.post(text, fields=sealed)
    assert await forum.found("sealed") == [label]
    assert await forum.found("ciphertext OR secret") == []
    assert await forum.found("has:attachment") == []


async def test_files_within_the_text_are_no_words(forum: Forum) -> None:
    line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5"
    label = await forum.post(f"here it is:\n{line}\n{'M' + '#' * 60}\nthe end", fields="Subject: dump")
    assert await forum.found("dump end") == [label]
    assert await forum.found(line) == []


async def test_a_snippet_shows_where_the_words_stand(forum: Forum) -> None:
    await forum.post("Hello all,\n\n" + "Nothing here.\n" * 30 + "Die Größe des Budgets.\n" + "More.\n" * 30)
    (hit,) = (await forum.find("grosse")).hits
    text, marks = hit.snippet
    assert [text[start:end] for start, end in marks] == ["Größe"]
    assert text.startswith("… Die Größe des Budgets. More.")


async def test_pages_follow_each_other_and_all_is_counted(forum: Forum) -> None:
    for age in range(7):
        await forum.post("same words", age=age)
    all_of_them = await forum.found("words")
    pages = [await forum.find("words", 3, skip) for skip in (0, 3, 6, 9)]
    assert [hit.post.label for page in pages for hit in page.hits] == all_of_them
    assert [page.total for page in pages] == [7] * 4


async def test_what_cannot_be_told_apart_stands_by_date(forum: Forum) -> None:
    ages = (5, 1, 9, 3)
    labels = [await forum.post("same words", age=age) for age in ages]
    assert await forum.found("words") == [label for _, label in sorted(zip(ages, labels, strict=True))]


async def test_of_a_word_that_very_many_posts_have_the_newest_are_ranked(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "WINDOW", 5)
    monkeypatch.setattr(index, "COMMON", 6)
    labels = [await forum.post("everywhere", age=20 - number) for number in range(10)]
    rare = await forum.post("everywhere rare", age=30)
    rarer = await forum.post("everywhere", fields="Subject: rare", age=31)
    found = await forum.find("everywhere")
    assert ([hit.post.label for hit in found.hits], found.total, found.more) == (labels[:4:-1], 5, True)
    assert await forum.found("everywhere rare") == [rarer, rare]
    assert await forum.found("everywhere -rare until:2023-10-17") == []


async def test_lists_do_not_see_each_other(forum: Forum) -> None:
    await forum.post("budget")
    other_id = await forum.db.write(lambda tx: lists.add(tx, "x@lists.example.org", "", ListSettings(), NOW))
    other = await forum.db.read(lambda tx: lists.by_id(tx, other_id or 0))
    assert other
    await search.catch_up(forum.db, 10)
    assert (await forum.db.read(lambda tx: search.find(tx, other, parse("budget"), 9))).hits == ()


async def test_more_posts_of_one_day_than_there_are_numbers_for_it_are_all_found(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "DAY", 2)
    labels = [await forum.post("crowded") for _ in range(7)]
    assert sorted(await forum.found("crowded")) == sorted(labels)


async def test_an_import_has_its_index_at_its_end_and_it_is_the_one_that_is_made_later(forum: Forum) -> None:
    raws = [letter.raw for letter in letters(400, seed=5)]
    await forum.take_in(raws)
    assert await forum.db.read(index.count_waiting) == 0
    at_once = forum.tokens()
    assert len(at_once) > 10_000
    assert await forum.db.write(search.start_anew) == len({row[0] for row in at_once})
    assert forum.tokens() == []
    assert await search.catch_up(forum.db, 1000) == 0
    assert forum.tokens() == at_once
    assert forum.healthy()


async def test_what_is_taken_out_leaves_nothing_behind(forum: Forum) -> None:
    await forum.take_in(letter.raw for letter in letters(200, seed=6))
    kept = forum.tokens()
    ids = sorted({row[0] for row in kept})
    await forum.db.write(lambda tx: search.forget(tx, ids[::2]))
    assert forum.tokens() == [row for row in kept if row[0] in ids[1::2]]
    while await forum.db.write(lambda tx: search.forget_some(tx, forum.mlist.id)):
        pass
    assert forum.tokens() == []
    assert forum.healthy()


async def test_a_text_that_is_no_longer_kept_is_no_longer_found(forum: Forum) -> None:
    indexed = await forum.post("a secret", fields="Subject: Plans", age=10)
    assert await forum.found("secret") == [indexed]
    waiting = await forum.post("a secret", fields="Subject: Plans", age=9)
    new = await forum.post("a secret", fields="Subject: Plans")
    step = posts.forget_bodies(NOW - 5 * DAY)
    await forum.db.write(lambda tx: step(0, tx))
    assert await forum.found("secret") == [new]
    assert await forum.found("plans") == [new, waiting, indexed]
    await forum.db.write(lambda tx: search.forget(tx, [1, 2, 3]))
    assert forum.tokens() == []
    assert forum.healthy()


async def test_a_text_that_is_forgotten_while_its_words_are_read_is_not_found(forum: Forum) -> None:
    await forum.post("a secret", age=10)
    words = await forum.db.read(search._next_words)
    step = posts.forget_bodies(NOW - 5 * DAY)
    await forum.db.write(lambda tx: step(0, tx))
    assert await forum.db.write(words.add) == 0
    assert await forum.found("secret") == []
    assert await forum.found("longer kept") == ["1.1"]


async def test_the_index_is_made_anew_where_words_are_folded_by_other_rules(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = await forum.post("budget")
    assert await forum.found("budget") == [label]
    monkeypatch.setattr(search, "RULES", "other ones")
    later = await forum.post("budget")
    assert await forum.found("budget") == [label], "what would not fit in waits"
    assert await forum.db.write(search.renew)
    assert not await forum.db.write(search.renew)
    assert await forum.found("budget") == [later, label]
    assert forum.healthy()


async def test_of_two_hosts_the_one_with_the_newer_rules_has_the_index_made_anew(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forum.post("budget")
    ours = search.RULES
    monkeypatch.setattr(search, "RULES", "0 15.1.0")
    await search.catch_up(forum.db, 10)
    assert not await forum.db.read(search.is_behind)
    monkeypatch.setattr(search, "RULES", ours)
    assert await forum.db.read(search.is_behind)
    assert await forum.db.write(search.renew)
    assert not await forum.db.read(search.is_behind)
    monkeypatch.setattr(search, "RULES", "0 15.1.0")
    assert await forum.db.read(search.is_old)
    assert not await forum.db.read(search.is_behind), "the older one leaves it alone"


async def test_a_kill_between_a_post_and_its_index_loses_nothing(forum: Forum) -> None:
    label = await forum.post("budget")
    await forum.db.close()  # nothing of it has been indexed
    forum.db = await open_database(forum.store)
    assert await forum.found("budget") == [label]


async def test_a_post_whose_bytes_are_lost_stands_in_nobodys_way(forum: Forum) -> None:
    lost = await forum.post("budget", fields="Subject: lost")
    label = await forum.post("budget")
    forum.rows("lose")
    assert await forum.found("budget") == [label]
    assert await forum.found("since:2000") == [label, lost]


async def test_two_that_index_at_once_do_so_once(forum: Forum) -> None:
    await forum.post("budget")
    words = await forum.db.read(search._next_words)

    def both(tx: Tx) -> None:
        assert words.add(tx) == 1
        assert words.add(tx) == 0

    await forum.db.write(both)
    assert len(forum.tokens()) == len(set(forum.tokens()))
    assert forum.healthy()


async def test_a_mail_on_which_the_reader_fails_is_found_by_its_subject(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(msg: message.Message, parts: object) -> body.Body:
        raise Refused("no", "no") if "refused" in msg.subject else ZeroDivisionError

    monkeypatch.setattr(body, "read", fails)
    labels = [await forum.post("x", fields=f"Subject: bad {how}") for how in ("refused", "broken")]
    await search.catch_up(forum.db, 10)
    monkeypatch.undo()
    assert sorted(await forum.found("bad")) == labels


def test_entries_stand_in_the_order_of_lists_and_days() -> None:
    days = [index._entry(list_id, day) for list_id in (1, 2) for day in (-1, 0, 1, 19_000, 10**9)]
    assert days == sorted(days)
    assert index._entry(1, 10**9) + index.DAY == index._entry(2, 0)


async def test_the_query_of_a_search_is_always_one_of_the_index(forum: Forum) -> None:
    await forum.post("AND or not NEAR")
    for text in ("AND OR NOT", "(and NEAR)", "or not near", '"and or"', "nea*"):
        assert await forum.found(text) == ["1.1"], text
