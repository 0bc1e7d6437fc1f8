"""The log: an event is a line, whatever a mail contained."""

import io
import logging

from mailforum import log


def logged(do: object) -> list[str]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(log.Lines("12:00 %(levelname)s %(message)s."))
    level = log.logger.level
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.INFO)
    try:
        do()  # type: ignore[operator]
    finally:
        log.logger.removeHandler(handler)
        log.logger.setLevel(level)
    return out.getvalue().splitlines()


def test_a_value_cannot_make_a_line_of_its_own() -> None:
    (line,) = logged(lambda: log.event("refused", reason='no\r\nevent=sent rcpt="x"', peer=None))
    assert line == '12:00 INFO event=refused reason="no\\r\\nevent=sent rcpt=\\"x\\"".'


def test_what_was_sent_at_once_is_a_whole_line_each() -> None:
    before = log.counters["sent"]
    lines = logged(lambda: log.sent([(1, 7, "a@example.org", "250 ok"), (2, 7, "b@example.org", "250 ok")]))
    assert lines == [
        '12:00 INFO event=sent delivery=1 mailing=7 rcpt=a@example.org reply="250 ok".',
        '12:00 INFO event=sent delivery=2 mailing=7 rcpt=b@example.org reply="250 ok".',
    ]
    assert log.counters["sent"] == before + 2
