from __future__ import annotations

from pathlib import Path

import pytest

from mailforum.delivery.sign import load_key, new_key
from mailforum.dns import Resolver
from mailforum.manual import to_toml
from tests.cli.conftest import Forum
from tests.support.postgres import database_url
from tests.support.sink import Sink
from tests.support.site import free_port, run_cli, write_config


def findings(forum: Forum, *, code: int = 0) -> dict[str, str]:
    """Every finding's text, and its level."""
    answer = forum.run("check", code=code)
    assert answer.err == ""
    return {line[9:]: line[:9].strip().rstrip(":") for line in answer.out.splitlines()}


def found(forum: Forum, text: str, *, code: int = 1) -> str:
    """The level of the one finding in which `text` stands."""
    (level,) = [level for finding, level in findings(forum, code=code).items() if text in finding]
    return level


def test_a_site_that_works_has_no_errors(pmo: Forum) -> None:
    (pmo.folder / "mailforum.db").chmod(0o600)
    levels = findings(pmo)
    assert "error" not in levels.values()
    assert levels[f"database: {pmo.folder / 'mailforum.db'}"] == "ok"
    assert levels["texts"] == "ok"
    assert {row["level"] for row in pmo.rows("check")} == {"ok", "warning"}


def test_a_broken_configuration_is_the_only_finding(forum: Forum) -> None:
    forum.file("mailforum.toml", "[site]\ncolour = 1\n")
    assert list(findings(forum, code=1).values()) == ["error"]


def test_a_secret_that_others_can_read_is_an_error(pmo: Forum) -> None:
    (pmo.folder / "secret.key").chmod(0o644)
    assert found(pmo, "chmod 600 it") == "error"


def test_a_secret_that_is_none_is_an_error(pmo: Forum) -> None:
    pmo.file("secret.key", "hello\n")
    assert any(text.startswith("secret: line 1") for text in findings(pmo, code=1))


def test_a_broken_text_is_an_error(pmo: Forum) -> None:
    folder = pmo.folder / "templates" / "en" / "notice"
    folder.mkdir(parents=True)
    (folder / "welcome.txt").write_text("Subject: Hi\n\n{{ nobody }}\n")
    assert found(pmo, "welcome.txt") == "error"


def test_a_database_that_is_broken_is_an_error(pmo: Forum) -> None:
    pmo.file("mailforum.db", b"nothing that we know" * 1000)
    assert found(pmo, "database: the database cannot be used: the file is damaged") == "error"


def test_a_new_database_on_a_server_is_made_and_is_no_older_one(forum: Forum) -> None:
    with database_url(empty=True) as url:
        write_config(forum.folder, "maildir:outbox", store_url=f'"{url}"')
        out = run_cli(["--config", forum.config, "check"]).out
    assert f"ok:      database: {url}" in out and "older" not in out


def test_a_folder_that_is_not_there_is_an_error(forum: Forum) -> None:
    write_config(forum.folder, "maildir:outbox", store_url='"sqlite:gone/mailforum.db"')
    assert found(forum, "we may not write here") == "error"


def test_no_room_is_an_error(forum: Forum) -> None:
    write_config(forum.folder, "maildir:outbox", store_min__free='"0"')
    text = Path(forum.config).read_text().replace('min_free = "0"', 'min_free = "99999999G"')
    forum.file("mailforum.toml", text)
    assert found(forum, "so no mail is taken in") == "error"


def test_a_key_that_cannot_be_read_is_an_error(pmo: Forum) -> None:
    write_config(pmo.folder, "maildir:outbox", dkim_selector='"s"', dkim_key_file='"k.pem"')
    assert found(pmo, "k.pem: No such file") == "error"
    pmo.file("k.pem", "nonsense")
    assert found(pmo, "the DKIM key cannot be read") == "error"


def in_dns(monkeypatch: pytest.MonkeyPatch, record: bytes | OSError | None) -> None:
    async def txt(self: Resolver, name: str) -> bytes | None:
        assert name == "s1._domainkey.example.org"
        if isinstance(record, OSError):
            raise record
        return record

    monkeypatch.setattr(Resolver, "txt", txt)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_the_key_in_dns_has_to_verify_what_we_sign(pmo: Forum, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pmo.run("dkim", "new", "example.org", "--type", kind, "--out", str(pmo.folder / "k.pem"))
    write_config(
        pmo.folder, "maildir:outbox", dkim_selector='"s1"', dkim_key_file='"k.pem"', dkim_domain='"example.org"'
    )
    right = load_key((pmo.folder / "k.pem").read_bytes(), "example.org", "s1").txt.encode()
    other = new_key(kind)[1].encode()
    place = "s1._domainkey.example.org"
    for record, level, said in (
        (right, "ok", f"signs with {kind}-sha256, and the key in DNS at {place} verifies it"),
        (None, "error", f"DNS has no TXT record at {place}; it should say: {right.decode()}"),
        (other, "error", f"the key in DNS at {place} is not the one that signs"),
        (OSError("no answer"), "warning", "could not be compared with DNS: no answer"),
    ):
        in_dns(monkeypatch, record)
        assert found(pmo, said, code=int(level == "error")) == level
    in_dns(monkeypatch, right)
    (pmo.folder / "k.pem").chmod(0o640)
    assert found(pmo, "the key that signs our mail") == "error"


def test_a_certificate_that_cannot_be_used_is_an_error(pmo: Forum) -> None:
    write_config(pmo.folder, "maildir:outbox", smtp_tls_cert='"c.pem"', smtp_tls_key='"c.pem"')
    assert any(text.startswith("tls: ") for text in findings(pmo, code=1))


async def test_a_relay_that_answers_is_ok(tmp_path: Path) -> None:
    import asyncio

    async with Sink() as sink:
        write_config(tmp_path, sink.url)
        answer = await asyncio.to_thread(run_cli, ["--config", str(tmp_path / "mailforum.toml"), "check"])
    assert f"ok:      relay: {sink.url} takes mail from us\n" in answer.out
    assert answer.code == 0


def test_a_relay_that_does_not_answer_is_an_error(forum: Forum) -> None:
    write_config(forum.folder, f"smtp://127.0.0.1:{free_port()}")
    assert found(forum, "relay: no connection to 127.0.0.1") == "error"


def test_a_password_file_that_is_gone_is_an_error(forum: Forum) -> None:
    write_config(forum.folder, "smtp://127.0.0.1:25", delivery_user='"u"', delivery_password_file=to_toml("pw"))
    assert found(forum, "pw: No such file or directory") == "error"


@pytest.mark.parametrize(("option", "said"), [("site_domain", "nobody else can write to these lists")])
def test_what_will_surprise_is_a_warning(forum: Forum, option: str, said: str) -> None:
    write_config(forum.folder, "maildir:outbox", **{option: '"localhost"'})
    assert found(forum, said, code=0) == "warning"


def test_a_list_that_nobody_is_in_charge_of_is_a_warning(pmo: Forum) -> None:
    write_config(pmo.folder, "maildir:outbox", site_admin='""')
    assert found(pmo, "pmo@lists.example.test: nobody is in charge", code=0) == "warning"
    pmo.run("member", "set", "pmo", "ada@example.org", "role=owner")
    assert not [text for text in findings(pmo) if "nobody is in charge" in text]


def test_a_database_of_an_older_mailforum_is_left_as_it_is(forum: Forum) -> None:
    from tests.store.test_migrate import old, version_and_waiting

    old(forum.folder / "mailforum.db", 1)
    assert found(forum, "of an older mailforum (schema 1 of", code=0) == "warning"
    assert version_and_waiting(forum.folder / "mailforum.db")[0] == 1
