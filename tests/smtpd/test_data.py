"""Mail data: its end, its dots and line ends, and what of it is in memory."""

import errno
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Deferred, Refused
from mailforum.mail.message import normalise
from mailforum.smtpd.data import MailData

PIECES = [b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\0", b"\r\n..", b"\r\n.", b"long " * 10]
TMP = Path(tempfile.gettempdir())


def feed(mail: MailData, chunks: list[bytes]) -> bytes:
    """Feed as a session does; return what stands behind the end."""
    rest = None
    for chunk in chunks:
        if rest is not None:
            rest += chunk
            continue
        rest = mail.feed(chunk)
        if rest is None and mail.full:
            mail.spill()
    assert rest is not None
    return rest


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from([8, 40, 10_000]), st.data())
def test_the_mail_is_the_same_wherever_packets_are_cut_and_wherever_it_waits(pieces, memory, data):
    wire = b"".join(pieces) + b"\r\n.\r\nNOOP\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    mail = MailData(10_000, memory, TMP)
    rest = feed(mail, [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)])
    content, _, behind = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert rest == behind
    lines = (content + b"\r\n").split(b"\r\n")[1:]
    assert mail.content() == normalise(b"\r\n".join(line.removeprefix(b".") for line in lines))


def test_of_a_large_mail_only_a_piece_is_in_memory():
    mail = MailData(10**7, 5000, TMP)
    for number in range(2000):
        line = b".%d %s\r\n" % (number, b"x" * 900) if number % 10 else b"y" * 3000
        mail.feed(line)
        if mail.full:
            mail.spill()
        assert mail.kept <= 8000
    assert mail.feed(b".\r\n") == b""
    assert mail.spilled
    assert mail.content().count(b"\r\n") == 1800
    assert not mail.spilled


def test_of_a_mail_too_large_nothing_is_kept():
    mail = MailData(1000, 500, TMP)
    for _ in range(1000):
        assert mail.feed(b"x" * 400) is None
        if mail.full:
            mail.spill()
        assert mail.kept <= 910
    assert mail.feed(b"\r\n.\r\nNOOP\r\n") == b"NOOP\r\n"
    assert not mail.spilled
    with pytest.raises(Refused, match=r"552 5\.3\.4"):
        mail.content()


@pytest.mark.parametrize(("size", "taken"), [(1000, True), (1001, False)])
@pytest.mark.parametrize("cut", [1, 500, 998, 1000, 1001, 1002, 1003])
def test_the_limit_is_exact_wherever_the_end_is_cut(size, taken, cut):
    mail, wire = MailData(1000, 10_000, TMP), b"x" * (size - 2) + b"\r\n.\r\n"
    assert feed(mail, [wire[:cut], wire[cut:]]) == b""
    if taken:
        assert len(mail.content()) == size
    else:
        with pytest.raises(Refused):
            mail.content()


@pytest.mark.parametrize("moment", ["spill", "content"])
def test_a_disk_without_room_puts_the_mail_off(monkeypatch, moment):
    mail = MailData(10_000, 100, TMP)
    mail.feed(b"x\r\n" * 100)
    if moment == "content":
        mail.spill()
    monkeypatch.setattr("tempfile.TemporaryFile", _no_room)
    if moment == "content":
        mail._file.close()
        mail._file = _Full()
        mail.feed(b".\r\n")
    with pytest.raises(Deferred, match=r"452 4\.3\.1"):
        getattr(mail, moment)()


def _no_room(**_: object) -> object:
    raise OSError(errno.ENOSPC, "No space left on device")


class _Full:
    def write(self, _: bytes) -> int:
        _no_room()
        raise AssertionError

    def close(self) -> None:
        pass
