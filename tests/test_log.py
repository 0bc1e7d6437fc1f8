"""The log: an event is a line in both forms, whatever a mail contained."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum import log

LINE = re.compile(r'event=[a-z_]+(?: [a-z_]+=(?:"(?:[ !#-\[\]-~]|\\["\\bfnrt]|\\u[0-9a-f]{4})*"|[!#-\[\]-~]+))*')
HOSTILE = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ['no\r\nevent=sent rcpt="x"', "\x1b[2J", "\u2028event=sent", "\udcff", '"', "\\", "\x7f", "\x85a", "", " "]
)


@contextmanager
def captured(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    level, propagate, handlers = log.logger.level, log.logger.propagate, log.logger.handlers[:]
    # pytest-xdist cannot pass on what pytest would capture: half of a surrogate pair. Its handler is at the root,
    # or here if a test before has set up the log.
    log.logger.handlers[:] = [handler]
    log.logger.propagate = False
    log.logger.setLevel(logging.INFO)
    try:
        yield out
    finally:
        log.logger.handlers[:] = handlers
        log.logger.setLevel(level)
        log.logger.propagate = propagate


def logged(do: Callable[[], object], formatter: logging.Formatter | None = None) -> list[str]:
    with captured(formatter or log.Lines("12:00 %(levelname)s %(message)s.")) as out:
        do()
    return out.getvalue().splitlines()


def fail(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def sent(rcpt: str, reply: str) -> None:
    log.sent(
        [log.Delivered("dk3m7q2p4abc", 1, 7, rcpt, 0.25, reply), log.Delivered("dk3m7q2p4abc", 2, 7, rcpt, 0.25, reply)]
    )


def test_a_value_cannot_make_a_line_of_its_own() -> None:
    (line,) = logged(lambda: log.event("refused", reason='no\r\nevent=sent rcpt="x"', peer=None))
    assert line == '12:00 INFO event=refused reason="no\\r\\nevent=sent rcpt=\\"x\\"".'


def test_what_was_sent_at_once_is_a_whole_line_each() -> None:
    before = log.counters["sent"]
    assert logged(lambda: sent("a@example.org", "250 ok")) == [
        '12:00 INFO event=sent mail=dk3m7q2p4abc delivery=1 mailing=7 rcpt=a@example.org delay=0.2 reply="250 ok".',
        '12:00 INFO event=sent mail=dk3m7q2p4abc delivery=2 mailing=7 rcpt=a@example.org delay=0.2 reply="250 ok".',
    ]
    assert log.counters["sent"] == before + 2


@given(HOSTILE, HOSTILE)
def test_whatever_a_mail_contains_an_event_is_one_line_of_plain_ascii(one: str, two: str) -> None:
    for do, lines in (
        (lambda: log.event("refused", reason=one, rcpt=two), 1),
        (lambda: sent(one, two), 2),
    ):
        found = logged(do, log.Lines("%(message)s"))
        assert len(found) == lines
        assert all(LINE.fullmatch(line) for line in found if one and two), found


@given(HOSTILE, HOSTILE)
def test_whatever_a_mail_contains_an_event_is_one_json_object_that_says_the_same(one: str, two: str) -> None:
    (refused,) = logged(lambda: log.event("refused", reason=one, code=550), log.Json())
    assert refused.isascii()
    event = json.loads(refused)
    assert (event["event"], event["level"], event.get("reason", ""), event["code"]) == ("refused", "info", one, 550)
    objects = [json.loads(line) for line in logged(lambda: sent(one, two), log.Json())]
    assert [(each["delivery"], each["rcpt"], each["reply"]) for each in objects] == [(1, one, two), (2, one, two)]


@given(HOSTILE)
def test_no_error_and_no_other_word_can_look_like_an_event(text: str) -> None:
    def do() -> None:
        log.logger.error("marks cannot be written: %s", text)
        log.event("fault", logging.ERROR, fail(text), id="f00")

    first, second, *traceback = logged(do, log.Lines("%(message)s"))
    assert first.startswith("marks cannot be written")
    assert second == "event=fault id=f00"
    assert traceback and all(line.startswith("| ") for line in traceback)
    objects = [json.loads(line) for line in logged(do, log.Json())]
    assert [each.get("event") for each in objects] == [None, "fault"]
    assert "ValueError" in objects[1]["error"]


def test_a_json_line_has_the_time_in_utc() -> None:
    (line,) = logged(lambda: log.event("ready"), log.Json())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json.loads(line)["at"])


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        ("not a member", "not a member"),
        ("unknown recipient '\nmailforum_up 0'@example.org", "unknown recipient"),
        ("Buy now!!!", "other"),
    ],
)
def test_refusals_are_counted_by_reasons_of_ours_only(reason: str, counted: str) -> None:
    before = log.refusals["5.7.1", counted]
    logged(lambda: log.refused(rcpt="pmo@example.org", code=550, enhanced="5.7.1", reason=reason))
    assert log.refusals["5.7.1", counted] == before + 1
