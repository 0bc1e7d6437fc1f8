import errno
import mailbox
import os
from pathlib import Path

import pytest

from mailforum.delivery.maildir import MaildirTransport
from mailforum.delivery.nexthop import transport_for
from mailforum.delivery.transport import Content, Job, RelayDown
from mailforum.model import State, Status
from mailforum.options import Config, DeliveryOptions

SENDER = "pmo-bounces@lists.example.org"
BODY = b"From: ann@example.org\r\nSubject: Budget\r\n\r\n.\r\nFrom here on.\r\n"


async def store(folder: Path, *jobs: Job) -> list[tuple[Job, tuple[Status, ...]]]:
    todo, ended = list(jobs), []

    async def take(_: bool) -> Job | None:
        return todo.pop(0) if todo else None

    async def settle(job: Job, statuses: tuple[Status, ...], _: Job | None) -> None:
        ended.append((job, statuses))

    try:
        await MaildirTransport(folder).run(take, settle)
    except RelayDown as down:
        down.add_note(repr([[(s.state, s.enhanced) for s in statuses] for _, statuses in ended]))
        raise
    return ended


def files(folder: Path) -> list[Path]:
    return sorted((folder / "new").iterdir())


async def test_each_recipient_gets_a_file_with_its_envelope_on_top(tmp_path: Path):
    job = Job(SENDER, ("bob@example.com", "jürgen@example.com"), (7, 8), Content(BODY))
    [(_, statuses)] = await store(tmp_path / "outbox", job)
    assert [status.state for status in statuses] == [State.SENT] * 2
    first, second = files(tmp_path / "outbox")
    body = BODY.replace(b"\r\n", b"\n")
    assert first.read_bytes() == b"Return-Path: <%s>\nDelivered-To: bob@example.com\n" % SENDER.encode() + body
    assert second.read_bytes().startswith(f"Return-Path: <{SENDER}>\nDelivered-To: jürgen@example.com\nFrom:".encode())
    assert first.name.startswith("00000007.")


async def test_mail_programs_read_the_folder(tmp_path: Path):
    await store(tmp_path / "outbox", Job("", ("bob@example.com",), (1,), Content(BODY)))
    [message] = mailbox.Maildir(tmp_path / "outbox", create=False)
    assert (message["Return-Path"], message["Subject"], message["Delivered-To"]) == ("<>", "Budget", "bob@example.com")
    assert message.get_payload() == ".\nFrom here on.\n"


async def test_the_same_delivery_again_replaces_its_file(tmp_path: Path):
    job = Job(SENDER, ("bob@example.com", "eve@example.com"), (7, 8), Content(BODY))
    await store(tmp_path, job)
    await store(tmp_path, job)
    assert len(files(tmp_path)) == 2


async def test_a_delivery_with_the_same_id_from_another_database_does_not(tmp_path: Path):
    await store(tmp_path, Job(SENDER, ("bob@example.com",), (7,), Content(BODY)))
    await store(tmp_path, Job(SENDER, ("bob@example.com",), (7,), Content(BODY + b"Other.\r\n")))
    assert len(files(tmp_path)) == 2


async def test_nothing_is_settled_before_file_and_folder_are_on_the_disk(tmp_path: Path, monkeypatch):
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file"
        events.append(f"sync {kind}")
        sync(handle)

    def noted_replace(path: Path, target: Path) -> Path:
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    todo = [Job(SENDER, (f"r{n}@example.com",), (n,), Content(BODY)) for n in range(2)]

    async def take(_: bool) -> Job | None:
        return todo.pop(0) if todo else None

    async def settle(job: Job, _: tuple[Status, ...], __: Job | None) -> None:
        events.append(f"settle {job.ids[0]}")

    await MaildirTransport(tmp_path).run(take, settle)
    one = ["sync file", "rename"]
    assert events == ["sync folder", "sync folder", *one, *one, "sync folder", "settle 0", "settle 1"]
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_many_jobs_are_all_stored(tmp_path: Path):
    ended = await store(tmp_path, *(Job(SENDER, (f"r{n}@example.com",), (n,), Content(BODY)) for n in range(150)))
    assert sorted(job.ids[0] for job, _ in ended) == list(range(150))
    assert len(files(tmp_path)) == 150


async def test_an_address_cannot_smuggle_a_header(tmp_path: Path):
    job = Job("x@example.org>\r\nX: 1", ("bob@example.com\nX-Evil: 1", "eve@example.com"), (1, 2), Content(BODY))
    [(_, (bad, good))] = await store(tmp_path, job)
    assert (bad.state, bad.enhanced, good.state) == (State.FAILED, "5.1.3", State.SENT)
    [file] = files(tmp_path)
    assert file.read_bytes().startswith(b"Return-Path: <>\nDelivered-To: eve@example.com\n")


async def test_a_folder_that_cannot_be_made_postpones_the_mail(tmp_path: Path):
    (tmp_path / "outbox").write_text("a file is in the way")
    with pytest.raises(RelayDown, match="cannot be written to") as caught:
        await store(tmp_path / "outbox", Job(SENDER, ("bob@example.com",), (1,), Content(BODY)))
    assert caught.value.enhanced == "4.3.0"
    assert "DEFERRED" in caught.value.__notes__[0] and "4.3.0" in caught.value.__notes__[0]


async def test_a_full_disk_postpones_the_mail(tmp_path: Path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RelayDown, match="No space left") as caught:
        await store(tmp_path, Job(SENDER, ("bob@example.com",), (1,), Content(BODY)))
    assert caught.value.enhanced == "4.3.1"
    assert files(tmp_path) == []


async def test_a_mark_that_cannot_be_made_comes_out(tmp_path: Path):
    class DiskFull(Exception):
        pass

    todo = [Job(SENDER, ("bob@example.com",), (1,), Content(BODY))]

    async def take(_: bool) -> Job | None:
        return todo.pop(0) if todo else None

    async def settle(_: Job, __: tuple[Status, ...], ___: Job | None) -> None:
        raise DiskFull

    with pytest.raises(DiskFull):
        await MaildirTransport(tmp_path).run(take, settle)


def test_the_configuration_names_the_folder(tmp_path: Path):
    transport = transport_for(Config(base=tmp_path, delivery=DeliveryOptions(relay="maildir:outbox")))
    assert isinstance(transport, MaildirTransport)
    assert transport.folder == tmp_path / "outbox"
