"""Very large lists: time to the 250, memory, what it does to others, and a crash in the midst of it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.place import SMALL, SMALL_LIST, Serving, mail, make_site, relay, serving
from tests.bench.table import Row, at_most

FAIR = 2.0  # seconds after which a small list's post is to be out


def fanned_out(folder: Path, readers: int, wait: float) -> list[Row]:
    """A post to a very large list, and meanwhile posts to a small one. `wait` is what the 250 may take."""
    with relay() as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", readers)
        with serving(folder) as server:
            idle, used = server.memory(), server.cpu
            server.forget_peak()
            answered, waited, mailing = server.post(mail("large"))
            first = 1000 * max(0.0, server.first(mailing) - answered)
            small = _small_posts(server, mailing, readers)
            server.until_sent(mailing, readers)
            used, more = server.cpu - used, server.memory("VmHWM") - idle
            seconds = server.last(mailing, readers) - answered
    name = f"list of {readers:,}"
    return [
        Row(f"{name}: until the 250", f"{waited * 1000:,.0f} ms", goals=(at_most(waited, wait, " s"),)),
        Row(f"{name}: first delivery after it", f"{first:.0f} ms", goals=(at_most(first, 20, " ms"),)),
        Row(f"{name}: fan-out, personal", f"{readers / seconds:,.0f} deliveries/s", used / readers * 1e6),
        Row(
            f"{name}: memory meanwhile",
            f"{more:.0f} MiB more",
            None,
            (f"{idle:.0f} before",),
            (at_most(more, 150, " MiB"),),
        ),
        _fair(f"{name}: a small list's post meanwhile", small),
    ]


def _fair(name: str, waits: list[float]) -> Row:
    if not waits:
        return Row(name, "too short to say")
    longest = max(waits)
    return Row(name, f"{longest:.2f} s", None, (f"the longest of {len(waits)}",), (at_most(longest, FAIR, " s"),))


def _small_posts(server: Serving, large: int, readers: int, most: int = 5) -> list[float]:
    """Post to the small list, a second apart; return when each was out, as long as the large one was not."""
    waits: list[float] = []
    for number in range(most):
        time.sleep(1)
        answered, _, mailing = server.post(mail(f"small {number}"), SMALL_LIST)
        out = server.last(mailing, SMALL)
        if server.ask("SELECT count(done_at) FROM delivery WHERE mailing_id = ?", large) >= readers:
            break
        waits.append(max(0.0, out - answered))
    return waits


def restarted(folder: Path, readers: int) -> list[Row]:
    """Kill it early in the fan-out; how soon the next start takes mail, and goes on sending."""
    with relay() as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", readers)
        with serving(folder) as server:
            _, _, large = server.post(mail("large"))
            server.first(large)
            server.kill()
        killed = server.ask("SELECT max(done_at) FROM delivery")
        pending = readers - server.ask("SELECT count(done_at) FROM delivery WHERE mailing_id = ?", large)
        started = time.time()
        with serving(folder) as server:
            answered, _, small = server.post(mail("small"), SMALL_LIST)
            later = "SELECT min(done_at) FROM delivery WHERE mailing_id = ? AND done_at > ?"
            while not (first := server.ask(later, large, killed)):
                time.sleep(0.01)
            out = server.last(small, SMALL)
            server.kill()
    name = f"restart with {pending:,.0f} pending"
    return [
        _within(f"{name}: the first 250", answered - started, 1),
        _within(f"{name}: the first delivery", first - started, 2),
        _within(f"{name}: a new post to a small list", out - answered, FAIR),
    ]


def _within(name: str, seconds: float, wanted: float) -> Row:
    return Row(name, f"{seconds:.2f} s", goals=(at_most(seconds, wanted, " s"),))
