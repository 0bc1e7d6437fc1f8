"""How many readers' mails a second are signed: `python tests/bench/signing.py [SECONDS]`.

One core, then one thread a core; beside it what OpenSSL itself does with RSA-2048.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from mailforum.delivery.sign import Signing, load_key, new_key

NOW = 1_763_800_000.0
COMMON = b"".join(
    b"%s: %s\r\n" % field
    for field in (
        (b"From", b"Ann Other <ann@example.org>"),
        (b"Subject", b"[pmo] Budget for 2027"),
        (b"Date", b"Sat, 22 Nov 2025 14:05:00 +0000"),
        (b"Message-ID", b"<1@example.org>"),
        (b"In-Reply-To", b"<0@example.org>"),
        (b"References", b"<0@example.org>"),
        (b"MIME-Version", b"1.0"),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"List-Id", b"<pmo.lists.example.org>"),
        (b"List-Post", b"<mailto:pmo@lists.example.org>"),
        (b"List-Help", b"<mailto:pmo-help@lists.example.org>"),
    )
)
BODY = b"Nothing but the words of a letter, again and again.\r\n" * 60


def _personal(number: int) -> bytes:
    return (
        b"To: reader%d@example.com\r\n"
        b"List-Unsubscribe: <mailto:pmo-leave@lists.example.org>, <https://lists.example.org/u/%d>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" % (number, number)
    )


def _rate(signing: Signing, seconds: float) -> float:
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(20):
            signing.sign(_personal(count), NOW)
            count += 1
    return count / (time.perf_counter() - start)


def _threads(signing: Signing, seconds: float, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: _rate(signing, seconds), range(threads)))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    cores = os.cpu_count() or 1
    for kinds in (("rsa",), ("ed25519",), ("rsa", "ed25519")):
        keys = [load_key(new_key(kind)[0], "lists.example.org", kind) for kind in kinds]
        signing = Signing(keys, COMMON, BODY)
        one, all_cores = _rate(signing, seconds), _threads(signing, seconds, cores)
        print(f"{' + '.join(kinds):15} {one:8.0f} mails/s, {cores} threads {all_cores:8.0f} mails/s")
    start = time.perf_counter()
    for _ in range(200):
        Signing((), COMMON, BODY)
    print(f"{'a mailing once':15} {(time.perf_counter() - start) / 200 * 1e6:8.0f} µs for {len(BODY)} bytes of body")
    if openssl := shutil.which("openssl"):
        command = [openssl, "speed", "-seconds", str(max(1, round(seconds))), "rsa2048"]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
