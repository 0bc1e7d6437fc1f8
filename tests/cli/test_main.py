from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailforum import __version__
from mailforum.cli import common
from tests.cli.conftest import Forum, as_process, lines
from tests.support.site import run_cli


def test_wrong_usage_is_exit_code_2_and_says_what_is_missing(forum: Forum) -> None:
    for words in ([], ["nonsense"], ["list"], ["list", "create"], ["member", "add", "pmo"], ["queue", "retry"]):
        answer = forum.run(*words, code=2)
        assert answer.err.startswith("mailforum: ")
        assert "--help" in answer.err
        assert answer.err.count("\n") == 1
        assert not answer.out


def test_help_is_exit_code_0(forum: Forum) -> None:
    assert "serve" in forum.run("--help").out
    assert "--preset" in forum.run("list", "create", "--help").out


def test_every_command_of_the_manual_is_there() -> None:
    out = run_cli(["--help"]).out
    commands = (
        "init serve demo config check version list member thread post held queue digest inject dkim shunt backup "
        "import export completion audit rethread"
    )
    for name in commands.split():
        assert f"\n    {name} " in out, name


def test_the_configuration_may_be_named_before_and_after_the_command(pmo: Forum) -> None:
    assert lines(run_cli(["list", "ls", "--config", pmo.config])) == lines(
        run_cli(["--config", pmo.config, "list", "ls"])
    )
    assert "pmo@" in run_cli(["list", "--config", pmo.config, "ls"]).out


def test_the_configuration_may_be_named_by_the_environment(pmo: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILFORUM_CONFIG", pmo.config)
    assert "pmo@" in run_cli(["list", "ls"]).out
    assert run_cli(["--config", "nowhere.toml", "list", "ls"]).code == 1


def test_the_configuration_in_this_folder_is_found(pmo: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pmo.folder)
    assert "pmo@" in run_cli(["list", "ls"]).out


def test_no_configuration_at_all_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PLACES", (tmp_path / "mailforum.toml",))
    monkeypatch.delenv("MAILFORUM_CONFIG", raising=False)
    answer = run_cli(["list", "ls"])
    assert answer.code == 1
    assert "mailforum init" in answer.err


def test_a_broken_configuration_names_file_line_and_option(forum: Forum) -> None:
    forum.file("mailforum.toml", '[smtp]\nmax_size = "huge"\n')
    said = forum.fails("list", "ls")
    assert f"{forum.config}:2: [smtp] max_size" in said


def test_an_unknown_list_is_one_clear_line(forum: Forum) -> None:
    for words in (
        ["list", "show", "x"],
        ["list", "delete", "x"],
        ["member", "ls", "x"],
        ["member", "add", "x", "a@example.org"],
        ["thread", "ls", "x"],
        ["post", "ls", "x"],
        ["held", "ls", "x"],
        ["digest", "send", "x"],
    ):
        assert forum.fails(*words) == "there is no list x; `mailforum list ls` shows all"


def test_a_list_is_found_by_its_name_when_only_one_has_it(pmo: Forum) -> None:
    assert pmo.rows("list", "show", "PMO") == pmo.rows("list", "show", "pmo@lists.example.test")
    pmo.run("list", "create", "pmo@other.example.test")
    assert pmo.fails("list", "show", "pmo") == "pmo is several lists: pmo@lists.example.test, pmo@other.example.test"
    assert pmo.rows("list", "show", "pmo@other.example.test")[0]["members"] == 0


def test_what_strangers_wrote_cannot_move_the_cursor(pmo: Forum) -> None:
    pmo.run("member", "set", "pmo", "bob@example.com", "name=\u202egro.elpmaxe")
    evil = b"From: ada@example.org\nSubject: a\x1b[2Jb\x9bc\nMessage-ID: <evil@example.org>\n\nx\x1b]0;y\x07z\x00\n"
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.file("evil.eml", evil))
    out = "".join(
        pmo.run(*words).out for words in (["member", "ls", "pmo"], ["post", "ls", "pmo"], ["post", "show", "1.1"])
    )
    assert not {"\x1b", "\x9b", "\u202e", "\x00", "\x07"} & set(out)


def test_a_database_that_is_none_is_one_clear_line(forum: Forum) -> None:
    forum.file("mailforum.db", b"this is no database, but long enough to look like one" * 100)
    assert "file is not a database" in forum.fails("list", "ls")


def test_a_folder_that_is_gone_is_one_clear_line(forum: Forum) -> None:
    config = Path(forum.config).read_text().replace("# url = ", "url = ").replace("sqlite:", "sqlite:gone/")
    forum.file("mailforum.toml", config)
    assert "unable to open database file" in forum.fails("list", "ls")


def test_a_table_is_aligned_also_with_wide_letters() -> None:
    rows = [{"a": "日本", "n": 1}, {"a": "ascii", "n": 20}, {"a": "e\u0301", "n": None}]
    assert list(common.table(rows, ("a", "n"))) == ["A      N", "日本   1", "ascii  20", "e\u0301"]


def test_a_table_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    assert list(common.table([{"a": "x" * 50}, {"a": "日本日本日本"}], ("a",))) == ["A", "x" * 9 + "…", "日本日本…"]


def test_ctrl_c_is_quiet(forum: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object, unit: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mailforum.cli.common.run_core", interrupted)
    answer = forum.run("list", "ls", code=130)
    assert (answer.out, answer.err) == ("", "")


def test_a_reader_that_goes_away_is_no_error(pmo: Forum) -> None:
    command = f"{sys.executable} -m mailforum --config {pmo.config} list show pmo | exec true"
    done = subprocess.run(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True, check=False)
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # 0: all was written before the reader went


def test_it_is_a_command_of_its_own_and_writes_utf8(pmo: Forum) -> None:
    pmo.run("list", "set", "pmo", "title=Über uns")
    done = as_process("--config", pmo.config, "list", "ls")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Über uns" in done.stdout.decode()
    done = as_process("list", "ls", MAILFORUM_CONFIG=pmo.config, PYTHONIOENCODING="ascii")
    assert b"\\xdcber uns" in done.stdout


def test_the_version_needs_nothing_heavy() -> None:
    code = (
        "import sys; from mailforum.cli.main import main; main(['version']);"
        "print(sorted({'asyncio', 'msgspec', 'jinja2', 'aiosmtpd', 'dataclasses', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"mailforum {__version__}\n[]\n"


def test_the_version_may_be_asked_for_as_with_other_programs() -> None:
    assert run_cli(["--version"]).out == run_cli(["version"]).out == f"mailforum {__version__}\n"


def completions(line: str, config: str) -> set[str]:
    """Ask what the Tab key would offer at the end of `line`."""
    words = Path(config).parent / "words"
    subprocess.run(
        [sys.executable, "-m", "mailforum"],
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(words),
            "_ARGCOMPLETE_IFS": "\n",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
            "MAILFORUM_CONFIG": config,
        },
        check=False,
        capture_output=True,
        timeout=60,
    )
    return set(words.read_text().split("\n"))


def test_the_tab_key_knows_lists_and_options(pmo: Forum) -> None:
    assert completions("mailforum member ls p", pmo.config) == {"pmo@lists.example.test "}
    assert {"digest=", "digest_hour="} <= completions("mailforum list set pmo dig", pmo.config)
    assert completions("mailforum list set pmo foot", pmo.config) == {"footer="}
    assert completions("mailforum member set pmo a@b role=m", pmo.config) == {"role=member", "role=moderator"}
    assert "--preset " in completions("mailforum list create --p", pmo.config)


def test_the_tab_key_is_quiet_where_there_is_no_site(tmp_path: Path) -> None:
    assert completions("mailforum member ls p", str(tmp_path / "none.toml")) <= {""}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_needs(shell: str) -> None:
    answer = run_cli(["completion", shell])
    assert answer.code == 0
    assert "mailforum" in answer.out
    assert "argcomplete" in answer.out.lower()
