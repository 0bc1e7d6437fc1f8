"""The configuration: one table, and errors that say where."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from mailforum import config, manual, units
from mailforum.errors import ConfigError
from mailforum.store.postgres.session import complete


def load(folder: Path, text: str, **environ: str) -> config.Config:
    file = folder / "mailforum.toml"
    file.write_text(text)
    return config.load(file, environ)


def test_the_sample_file_is_the_defaults(tmp_path: Path) -> None:
    uncommented = manual.sample({}).replace("\n# ", "\n")
    text = "\n".join(
        line for line in uncommented.splitlines() if (" = " in line and not line.endswith(").")) or line[:1] == "["
    )
    assert load(tmp_path, text) == config.Config(base=tmp_path)


def test_the_manual_in_docs_is_the_table_in_the_code() -> None:
    page = Path(__file__).parent.parent / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == manual.page()


def test_every_option_says_what_it_is() -> None:
    for section in config.SECTIONS:
        for option in config.options(section):
            assert option.help, f"[{section}] {option.name}"


def test_what_config_prints_can_be_read_again(tmp_path: Path) -> None:
    first = load(tmp_path, '[smtp]\nmax_size = "5M"\nlisten = ["127.0.0.1:2525", "[::1]:2525"]\n')
    assert load(tmp_path, manual.show(first)) == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[smtp]\n\nmax_sze = 3", ":3: [smtp] max_sze: unknown option"),
        ("[foo]\n", ":1: [foo]: unknown section"),
        ('[smtp]\nlisten = ["here"]', ":2: [smtp] listen: expected host:port"),
        ('[delivery]\nconnections = "many"', ":2: [delivery] connections: expected a number, got a text in quotes"),
        ("[delivery]\nconnections = 0", ":2: [delivery] connections: expected a number >= 1"),
        ("[site]\ndomain = 3", ":2: [site] domain: expected a text in quotes, got a number"),
        ('[delivery]\nrelay = "ftp://x"', ":2: [delivery] relay: expected smtp://host:port"),
        (
            '[delivery]\nrelay = "smtp://me:secret@host"',
            ":2: [delivery] relay: expected smtp://host:port, lmtp",
        ),
        ('[delivery]\nretry = ["5x"]', ":2: [delivery] retry: expected a time such as"),
        ('[dns]\nservers = ["a.b"]', ":2: [dns] servers: expected IP addresses"),
        ('[smtp]\ntls_cert = "cert.pem"', ":2: [smtp] tls_cert: tls_cert and tls_key go together"),
        ("[site]\ndomain = ''", ":2: [site] domain: expected a domain"),
        ("[site]\nadmin = 'me'", ":2: [site] admin: expected an address"),
        ("[store]\nlease = 0", ":2: [store] lease: expected at least a second"),
        ("[web]\nurl = 'lists.example.org'", ":2: [web] url: expected a web address"),
        ("[store]\nurl = 'mysql://x'", ":2: [store] url: expected sqlite:FILE, or postgresql://user@host/name"),
        (
            "[store]\nurl = 'postgresql://me:se/cret@db/x'",
            ":2: [store] url: expected postgresql://user@host/name, where",
        ),
        ("[store]\nurl = 'postgresql://me:100%@db/x'", ":2: [store] url: expected postgresql://user@host/name, where"),
        ("[store]\nurl = 'postgresql://db:five/x'", ":2: [store] url: expected postgresql://user@host/name, where"),
        ("[smtp]\nlisten = '127.0.0.1:25'", ":2: [smtp] listen: expected a list"),
        ("[dkim]\nextra_key_file = 'x'", ":2: [dkim] extra_key_file: extra_key_file and extra_selector"),
        ("domain = ", "Invalid value"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "mailforum.toml") in str(caught.value)


def test_a_missing_file_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load(tmp_path / "none.toml", {})


def test_the_environment_outweighs_the_file(tmp_path: Path) -> None:
    changed = load(
        tmp_path,
        '[site]\ndomain = "a.example.org"\n',
        MAILFORUM_SITE_DOMAIN="b.example.org",
        MAILFORUM_SITE_SPECIAL_DOMAINS="true",
        MAILFORUM_DELIVERY_CONNECTIONS="7",
        MAILFORUM_SMTP_LISTEN="127.0.0.1:1025, [::1]:1025",
    )
    assert (changed.site.domain, changed.site.special_domains) == ("b.example.org", True)
    assert changed.delivery.connections == 7
    assert [str(address) for address in changed.smtp.listen] == ["127.0.0.1:1025", "[::1]:1025"]


def test_a_wrong_value_in_the_environment_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[delivery\] connections"):
        load(tmp_path, "", MAILFORUM_DELIVERY_CONNECTIONS="many")


def test_a_password_may_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    read = load(tmp_path, '[delivery]\npassword_file = "password"\npassword = "other"\n')
    assert read.password == "hunter2"
    assert "other" not in manual.show(read)


PASSWORDS = [
    ("postgresql://me:hunter2@db/forum", "postgresql://me:***@db/forum"),
    ("postgres://me:hunter2@[2001:db8::1]:5433,db2/forum?sslmode=require", None),
    ("postgresql://db/forum?user=me&password=hunter2&sslmode=require", None),
    ("postgresql://db/forum?pass%77ord=hunter2", None),
    ("postgresql:///forum?host=/run/postgresql&sslpassword=hunter2", None),
]


@pytest.mark.parametrize(("url", "shown"), PASSWORDS)
def test_a_databases_password_is_never_shown(tmp_path: Path, url: str, shown: str | None) -> None:
    read = load(tmp_path, f'[store]\nurl = "{url}"\n')
    for text in (manual.show(read), repr(read), str(read.store.url), read.database_name):
        assert "hunter2" not in text
    assert "***" in read.database_name
    assert read.database_name == (shown or read.database_name)
    assert "hunter2" in str(read.database)


def test_a_mistake_in_a_url_does_not_show_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "", MAILFORUM_STORE_URL="postgresql://me:hunter2@db:port/forum")
    assert "hunter2" not in str(caught.value)


def test_the_databases_password_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter 2&/\n")
    read = load(tmp_path, '[store]\nurl = "postgresql://me@db/forum?sslmode=require"\npassword_file = "password"\n')
    made = conninfo_to_dict(str(read.database))
    assert (made["password"], made["sslmode"], made["dbname"]) == ("hunter 2&/", "require", "forum")


def test_of_several_servers_the_one_is_meant_that_can_be_written_to(tmp_path: Path) -> None:
    def wanted(url: str) -> str:
        read = load(tmp_path, f'[store]\nurl = "{url}"\n')
        return str(conninfo_to_dict(complete(str(read.database)))["target_session_attrs"])

    assert wanted("postgresql://one,two:5433/forum") == "read-write"
    assert wanted("postgresql://one,two/forum?target_session_attrs=primary") == "primary"


def test_files_of_a_host_are_where_its_folder_is(tmp_path: Path) -> None:
    server = '[store]\nurl = "postgresql://db/forum"\n'
    assert load(tmp_path, server).folder == tmp_path
    assert load(tmp_path, f'{server}folder = "state"\n').folder == tmp_path / "state"
    assert load(tmp_path, '[store]\nurl = "sqlite:data/forum.db"\n').folder == tmp_path / "data"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("4h", 14400), ("5d", 432000), (7, 7)])
def test_times_are_read_in_the_units_people_write(text: object, seconds: int) -> None:
    assert units.Duration.parse(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("300K", 307200), ("25M", 26214400), ("1G", 1 << 30), (10, 10)])
def test_sizes_are_read_in_the_units_people_write(text: object, size: int) -> None:
    assert units.Size.parse(text) == size


@pytest.mark.parametrize(
    ("text", "start", "seconds"),
    [
        ("2024", "2024-01-01T00:00:00Z", 366 * 86400),
        ("2026-02", "2026-02-01T00:00:00Z", 28 * 86400),
        ("2026-02-28", "2026-02-28T00:00:00Z", 86400),
        ("2026-02-28T12:30", "2026-02-28T12:30:00Z", 0),
        ("2026-02-28 12:30:05+02:00", "2026-02-28T10:30:05Z", 0),
        ("7d", "2026-03-01T00:00:00Z", 0),
        ("36h", "2026-03-06T12:00:00Z", 0),
    ],
)
def test_dates_are_read_as_people_write_them(text: str, start: str, seconds: int) -> None:
    now = datetime(2026, 3, 8, tzinfo=UTC).timestamp()
    begin = datetime.fromisoformat(start).timestamp()
    assert units.Period.parse(text, now) == (begin, begin + seconds)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13", "2026-02-30", "26-01-01", "7", "2026-01-01T", "2026T12:00"]
)
def test_what_is_no_date_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date; write `2026-01-31`"):
        units.Period.parse(text, 0.0)
