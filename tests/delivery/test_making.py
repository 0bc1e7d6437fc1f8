"""Mails are made of what a mailing is now."""

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mailforum.delivery.hand import Task
from mailforum.delivery.making import JobMaker
from mailforum.delivery.transport import Content
from mailforum.model import Due
from mailforum.store.database import Tx
from mailforum.store.sqlite import open_sqlite


class Mailings:
    """Mailings whose signatures take long; `text` is in both the body and the signature."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def prepare(self, _: Tx, __: int) -> Any:
        return SimpleNamespace(
            slow=True,
            content=Content(b"\r\n" + self.text),
            own=lambda due: b"Signature: %d %s\r\n" % (due.id, self.text),
            envelope_sender=lambda _: "pmo-bounces@lists.example.org",
        )


async def test_a_mail_that_was_signed_ahead_is_signed_again_if_its_text_has_changed(tmp_path: Path) -> None:
    db = await open_sqlite(tmp_path / "db")
    maker = JobMaker(db, Mailings(b"old"))
    tasks = deque(Task(1, (Due(number, 1, None, "ada@example.org", 0, 1.0, 1.0),)) for number in range(3))
    made = [await maker.job(tasks.popleft(), tasks)]
    maker.use(Mailings(b"new"))
    made += [await maker.job(tasks.popleft(), tasks) for _ in range(2)]
    maker.close()
    await db.close()
    texts = [b"old", b"new", b"new"]
    assert [job.own for job in made] == [b"Signature: %d %s\r\n" % signed for signed in enumerate(texts)]
    assert [job.content.data for job in made] == [b"\r\n" + text for text in texts]
