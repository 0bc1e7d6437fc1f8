"""What is exported and imported again gives the same export, to the byte: whatever is in the list, in every format."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from pathlib import Path
from random import Random

import pytest

from tests.support import archive as made_up
from tests.support.lone import House
from tests.test_readers import BROKEN, WHOLE

HOUR = 3600.0


def live(number: int, ahead: float | None) -> bytes:
    """A mail that comes today, from somebody whose clock is `ahead` by so many seconds, or who has none."""
    date = "" if ahead is None else f"Date: {formatdate(time.time() + ahead)}\r\n"
    return f"From: ada@example.org\r\n{date}Subject: live {number}\r\n\r\nText {number}\r\n".encode()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A list with old mails in no order, broken ones, several with one Message-ID, and some that came by mail."""
    folder = tmp_path_factory.mktemp("house")
    house = House(folder)
    house.run("list", "set", "pmo", "posting=anyone")
    for number, ahead in enumerate((None, 0, -2 * HOUR, 600, 30 * HOUR, 1000 * HOUR)):
        (folder / "live").write_bytes(live(number, ahead))
        house.run("inject", "--from", "ada@example.org", "--to", "pmo@lists.example.test", folder / "live")
    letters = [letter.raw for letter in made_up.letters(120, seed=21)]
    twice = [letters[7] + b"PS: and this.\r\n", letters[7].replace(b"Subject: ", b"Subject: again, ", 1)]
    mails = [*letters, *twice, *WHOLE, *BROKEN]
    house.take_in(*Random(5).sample(mails, len(mails)))
    return house


def content(path: Path) -> dict[str, tuple[bytes, float]]:
    """Return what is in a file or a Maildir, with the times of the files in it."""
    if path.is_file():
        return {"": (path.read_bytes(), 0.0)}
    files = {file.name: (file.read_bytes(), file.stat().st_mtime) for file in path.glob("*/*")}
    assert len(files) > 100
    return files


@pytest.mark.parametrize("name", ["pmo.mbox.gz", "pmo.jsonl", "maildir/"])
def test_export_import_export_is_a_fixed_point(house: House, name: str) -> None:
    first, second, copy = f"{house.folder}/first-{name}", f"{house.folder}/second-{name}", name.strip("/")
    house.run("list", "create", copy)
    written = json.loads(house.run("export", "pmo", first, "--json").out)["posts"]
    said = json.loads(house.run("import", copy, first, "--json").out)
    assert (said["imported"], said["duplicates"], said["bad"], said["left_out"]) == (written, 0, 0, {})
    house.run("export", copy, second)
    assert content(Path(second)) == content(Path(first))
    assert json.loads(house.run("import", "pmo", second, "--json").out)["imported"] == 0


def test_a_part_of_a_list_is_a_fixed_point_too(house: House) -> None:
    first, second = house.folder / "part.jsonl", house.folder / "copy.jsonl"
    house.run("export", "pmo", first, "--since", "2003-02", "--until", "2003-03-10", "--thread", "7", "--thread", "9")
    assert first.stat().st_size
    for name, source, target in (("part", first, second), ("once-more", second, first)):
        house.run("list", "create", name)
        house.run("import", name, source)
        house.run("export", name, target, "--force")
    assert second.read_bytes() == first.read_bytes()
