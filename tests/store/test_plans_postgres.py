"""How PostgreSQL goes about our statements where the tables are large."""

import json
import re
from collections.abc import Iterator

import pytest

from mailforum.store.postgres import dialect
from mailforum.store.postgres.migrate import migrate
from mailforum.store.postgres.session import Session, connect
from mailforum.store.postgres.statements import parsed
from tests.support.postgres import database_url

POSTS, THREADS, DELIVERIES = 10_000, 2_000, 20_000
# Twenty lists, whose posts and members come in turn; a tenth of the deliveries still waits.
FILL = f"""
SET session_replication_role = replica;
INSERT INTO list (address, title, settings, digested_at, created_at)
SELECT 'list' || n || '@example.org', '', '{{}}', 1, 1 FROM generate_series(1, 20) AS n;
INSERT INTO member (list_id, address, key, name, role, mode, status, own_posts, joined_at)
SELECT 1 + n % 20, n || '@example.org', n || '@example.org', '', CASE WHEN n <= 40 THEN 'owner' ELSE 'member' END,
       'each', 'active', TRUE, 1 FROM generate_series(1, {POSTS}) AS n;
INSERT INTO thread (list_id, number, subject, last_label, created_at)
SELECT 1 + n % 20, n, 'subject ' || n, 5, n FROM generate_series(1, {THREADS}) AS n;
INSERT INTO post (list_id, thread_id, label, parent_id, named_id, how, message_id, from_address, from_name, subject,
                  base, date, received_at, size, fingerprint, imported, lonely)
SELECT 1 + thread % 20, thread, thread || '.' || n, above, above, 2, '<' || n || '@example.org>', 'ada@example.org',
       'Ada', 'subject', 'subject ' || thread, n, n, 1000, decode(md5(CAST(n AS TEXT)), 'hex'), n % 3 = 0, n % 50 = 0
FROM (SELECT n, 1 + (n - 1) % {THREADS} AS thread, CASE WHEN n > {THREADS} THEN n - {THREADS} END AS above
      FROM generate_series(1, {POSTS}) AS n) AS given;
INSERT INTO body (post_id, raw) SELECT id, 'x' FROM post;
INSERT INTO indexed (post_id, entry) SELECT id, CASE WHEN id % 100 > 0 THEN list_id * 1073741824 + id END FROM post;
INSERT INTO full_text (entry, length, words) SELECT entry, 2, 'a:1 b:2' FROM indexed WHERE entry IS NOT NULL;
INSERT INTO message_id (list_id, msgid, post_id) SELECT list_id, message_id, id FROM post;
INSERT INTO message_id (list_id, msgid)
SELECT 1 + n % 20, '<ghost' || n || '@example.org>' FROM generate_series(1, {THREADS}) AS n;
INSERT INTO reference (post_id, position, message_id, how)
SELECT n, 0, {POSTS} + 1 + n % {THREADS}, 3 FROM generate_series(1, {POSTS}, 3) AS n;
INSERT INTO seen (rcpt, digest, at)
SELECT 'list1@example.org', decode(md5(CAST(n AS TEXT)), 'hex'), n FROM generate_series(1, {POSTS}) AS n;
INSERT INTO event (mail, at, rcpt, what, text, code, message_id, mail_from, peer, size)
SELECT lpad(CAST(n AS TEXT), 12, '0'), n, 'list1@example.org', 'post', '', 250, '', '', '', 1000
FROM generate_series(1, {POSTS}) AS n;
INSERT INTO mailing (list_id, kind, ref_id, template, data, reply_to, mail_from, created_at, mail)
SELECT 1 + n % 20, 'post', n, '', '{{}}', '', '', n, n FROM generate_series(1, {DELIVERIES // 10}) AS n;
INSERT INTO delivery (mailing_id, member_id, rcpt, state, created_at, due_at, done_at)
SELECT 1 + n / 10, 1 + n % {POSTS}, n || '@example.org',
       CASE WHEN n <= {DELIVERIES * 9 // 10} THEN 'sent' WHEN n % 50 = 0 THEN 'deferred' ELSE 'queued' END,
       n / 10, n / 10, CASE WHEN n <= {DELIVERIES * 9 // 10} THEN n END FROM generate_series(1, {DELIVERIES}) AS n;
INSERT INTO attempt (delivery_id, at, enhanced, reply)
SELECT n, n, '', '' FROM generate_series(1, {DELIVERIES // 5}) AS n;
INSERT INTO bounce (list_id, address, action, enhanced, diagnostic, at, member_id, domain, cause)
SELECT 1 + n % 20, n || '@example.org', 'failed', '', '', n, n, 'example.org', n % 100
FROM generate_series(1, {THREADS}) AS n;
INSERT INTO failing (member_id, list_id, state, points, hard, soft, first_at, step_at, step, at, enhanced, reply,
                     cause, storm_at, due_at)
SELECT n, 1 + n % 20, 'counting', 1, 1, 1, 1, 1, 'hard', 1, '', '', '', 1, n FROM generate_series(1, {THREADS}) AS n;
SET session_replication_role = origin;
ANALYZE
"""
LARGE = re.compile(
    r"(attempt|body|bounce|delivery|event|failing|full_text|indexed(?!_by)|mailing|member|message_id|post|reference|seen|thread)"
)
# What somebody asks for by hand, and once in a while: it may look at all of a table.
BY_HAND = re.compile(
    r"health\.|search\.expect_(none|all)|trace\.(mails_of_message_id|posts|bounces)|intake\.seen_count|list\.(counts|delete_posts)"
    r"|bounce\.forget_failing|queue\.(of_state|stats|pause|resume|drop_paused|retry_all)|stats\.(waiting|finished|in_trouble|domains|states|in_hand)"
)
# An index that holds only what is looked for is read as a whole: it is short.
SHORT = re.compile(r"mailing_fanning|thread_merged|post_knot|delivery_(deferred|failed)|indexed_waiting")
# A list's members are few beside its posts.
FEW = re.compile(r"member_|failing_list|bounce_summary_pkey")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with database_url() as url:
        session = connect(url)
        migrate(session)
        session.simple(FILL)
        yield session
        session.close()


def test_no_statement_reads_all_of_a_large_table(session: Session) -> None:
    faults = _faults(session)
    assert not faults, "\n".join(f"{name}: {found}" for name, found in faults.items())


def test_what_has_no_index_is_said_to_read_all(session: Session) -> None:
    session.simple("BEGIN; DROP INDEX message_id_post; DROP INDEX delivery_pending")
    faults = _faults(session)
    session.rollback()
    assert {"thread.waiting", "queue.backlog"} <= faults.keys()


def test_a_search_reads_posts_in_order_or_by_the_index_of_words(session: Session) -> None:
    session.simple("SET enable_seqscan = on")  # as if a server did not know what our sessions leave it
    plan = json.dumps(_plan(session, dialect.queries()["search.newest"]))
    session.simple("SET enable_seqscan = off")
    assert plan.count('"Index Name": "full_text_pkey"') == 2 and plan.count('"Index Name": "full_text_words"') == 1
    assert '"Scan Direction": "Backward"' in plan and "Seq Scan" not in plan


def test_a_claim_finds_room_on_its_page_and_touches_no_index(session: Session) -> None:
    waiting = "SELECT id FROM delivery WHERE done_at IS NULL ORDER BY id LIMIT 100"
    session.simple(f"BEGIN; UPDATE delivery SET claim = 7 WHERE id IN ({waiting})")
    touched = session.simple("SELECT pg_stat_get_xact_tuples_hot_updated(CAST('delivery' AS REGCLASS))").get_value(0, 0)
    session.rollback()
    assert touched == b"100"


def _faults(session: Session) -> dict[str, list[str]]:
    """Return for each statement of every day what it reads all of, if anything."""
    asked = {
        name: list(_whole_tables(_plan(session, text)))
        for name, text in dialect.queries().items()
        if re.match(r"(--.*\n)*(SELECT|WITH|INSERT|UPDATE|DELETE)", text) and not BY_HAND.match(name)
    }
    return {name: found for name, found in asked.items() if found}


def _plan(session: Session, text: str) -> dict[str, object]:
    """Return how a statement is gone about, whatever its values are: that is what our sessions ask for."""
    statement, names = parsed(text)
    session.simple(f"PREPARE asked AS {statement.decode()}")
    values = f"({', '.join('NULL' for _ in names)})" if names else ""
    result = session.simple(f"EXPLAIN (FORMAT JSON) EXECUTE asked{values}")
    session.simple("DEALLOCATE asked")
    plan: dict[str, object] = json.loads(result.get_value(0, 0) or b"")[0]["Plan"]
    return plan


def _whole_tables(plan: dict[str, object], limited: bool = False) -> Iterator[str]:
    """Yield each step that reads a large table, or an index of it, or all that is of a list, from end to end."""
    kind, index = str(plan["Node Type"]), str(plan.get("Index Name", ""))
    condition, table = str(plan.get("Index Cond", "")), str(plan.get("Relation Name", index))
    if kind == "Seq Scan" and LARGE.match(table):
        yield f"all of {table}"
    if index and not condition and LARGE.match(table) and not (limited or SHORT.match(index)):
        yield f"all of {index}"
    if re.fullmatch(r"\(list_id = \S+\)", condition) and not limited and not FEW.match(index):
        yield f"all of a list in {index}"
    for step in plan.get("Plans", ()):  # type: ignore[attr-defined]
        yield from _whole_tables(step, limited or kind == "Limit")
