"""Whose fault it is that a mail did not arrive: the mailbox's for good, for now, or the mail's own.

RFC 3463 codes are taken where they say something; servers' words where these say more. In doubt it is
not the member's fault: to stop writing to somebody who is there is the worse mistake.
"""

from __future__ import annotations

import re
from typing import Literal

from mailforum.mail import words

Failure = Literal["hard", "soft", "policy", "delayed", "none"]

MAX_TEXT = 3000
MAX_CAUSE = 100

CODE = re.compile(r"(?<![\d.])([245]\.[0-7]\.\d{1,3})(?!\d|\.\d)")
_REPLY = re.compile(r"(?<![\d.])([45][0-5]\d)(?=[ -])")

# A mailbox that is blocked or suspended is no block list.
_BLOCKED_BOX = re.compile(
    r"\b(?:account|mailbox|user|recipient)\b[^.\n]{0,40}?\b(?:blocked|suspended|banned)"
    r"|over quota or does not exist|blocked (?:account|mailbox|user)"
)
_POLICY = re.compile(
    r"\b(?:dmarc|spf|dkim|arc|spamhaus|spamcop|sorbs|barracudacentral|abusix|uceprotect|invaluement|rbl|dnsbl"
    r"|blacklist\w*|blocklist\w*|denylist\w*|black list\w*|block list\w*|blocked|banned|reputation|spam|spammy"
    r"|junk|unsolicited|bulk mail|phishing|virus|malware|polic(?:y|ies)|content (?:rejected|filter)"
    r"|unauthenticated|authentication (?:required|failed|checks)|not authenticated"
    r"|relay(?:ing)? (?:access )?denied|too many (?:hops|connections|messages)|rate limit\w*"
    r"|limit exceeded for sender|tss0\d|ptr|reverse dns|rdns|attachment|message (?:size|too (?:big|large))"
    r"|size limit|line too long|not authori[sz]ed|not permitted|richtlinie\w*|politique de s[ée]curit[ée]"
    r"|pol[íi]tica\w*|спам\w*)\b|垃圾|拒收"
)
_FULL = re.compile(
    r"\b(?:quota|mailbox (?:is )?full|full mailbox|inbox (?:is )?full|out of storage"
    r"|insufficient (?:disk )?(?:space|storage)|over (?:its )?(?:storage )?limit"
    r"|storage (?:space )?(?:limit|exceeded)|disk full|no space left|not enough space|postfach (?:ist )?voll"
    r"|bo[îi]te (?:de r[ée]ception )?pleine|buz[óo]n (?:est[áa] )?lleno|casella piena|mailbox size"
    r"|exceeded storage|mail ?box for user is full|переполнен\w*)\b|容量|邮箱已满"
)
_GONE = re.compile(
    r"\b(?:unknown (?:user|recipient|address|account|local|virtual)"
    r"|(?:user|recipient|address|mailbox|account|local part)(?: is)? unknown"
    r"|no such (?:user|mailbox|address|recipient|domain|person|account|local)|no mailbox|no account by"
    r"|(?:does|do) ?(?:n'?t|n’t| not) (?:have an?|exist)|non-?existent|not exist|unrouteable|unroutable"
    r"|(?:user|recipient|address|mailbox|account|domain|host|name)(?:'s)? (?:was |is |could )?(?:not|n[o']t)"
    r" (?:be )?found"
    r"|couldn[’']?t be found|wasn[’']?t found|invalid (?:recipient|user|mailbox|address)"
    r"|recipient (?:address )?rejected|unknown or illegal|unknown or illegal alias|host unknown|unknown host"
    r"|not a valid (?:user|mailbox|recipient)|not listed in"
    r"|(?:account|mailbox|user|address)\b[^.\n]{0,40}\b(?:disabled|inactive|closed|deleted|expired|terminated|suspended|deactivated|discontinued|unavailable)"
    r"|no longer (?:available|valid|active|exists|in use|accepts?|on server)"
    r"|not (?:our|a local) (?:customer|user)|this user doesn|null mx|does not accept mail|any host named|no mx"
    r"|nicht gefunden|unbekannt\w*|existiert nicht|introuvable|n['’]existe pas|no existe|non esiste|sconosciuto"
    r"|не найден\w*|не существует|bad destination|addressee unknown)\b|不存在|存在しません|見つかりません"
)
_LATER = re.compile(
    r"\b(?:tim(?:ed|e) ?out|time ?out|expired|too long|temporar\w+|try (?:again|later)|retry|deferred"
    r"|connection refused|connection (?:lost|dropped|timed)|unreachable|not responding|will be retried|giving up"
    r"|gave up|greylist\w*)\b"
)
_VARIES = set("0123456789@/<>[]=_")  # a word with one of these is about one mail, recipient or host
_GONE_CODES = ("5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.4.310", "5.4.4", "5.1.351")
# The mail's own: sender addresses, size, form, what a policy says.
_MAIL_CODES = ("5.1.7", "5.1.8", "5.2.3", "5.3.4", "4.3.4", "5.7.", "4.7.", "5.6.", "5.5.")


def judge(action: str, status: str, text: str) -> Failure:
    """Judge what a report or a server says: RFC 3464 action or "", RFC 3463 status or "", and its words.

    `policy` is all that is said about the mail or about us rather than about the mailbox; `none` that
    it arrived; `delayed` that it is still tried.
    """
    if action in ("delivered", "relayed", "expanded"):
        return "none"
    if action == "delayed":
        return "delayed"
    low = text[:MAX_TEXT].lower()
    code = _code(status, low)
    plain = _BLOCKED_BOX.sub(" ", low)
    if code.startswith(_MAIL_CODES) or _POLICY.search(plain):
        return "policy"
    if _FULL.search(plain) or code.endswith(".2.2"):
        return "soft"
    if code.startswith("4."):
        return "soft"
    if code in _GONE_CODES or _GONE.search(low) or _BLOCKED_BOX.search(low):
        return "hard"
    return "soft"


def _code(status: str, low: str) -> str:
    """Return the more exact of the code given and the first in the text."""
    found = CODE.search(low)
    if found and (not status or status.endswith(".0.0")):
        return found[1]
    if status.endswith(".0.0") or not status:
        reply = _REPLY.search(low)
        return f"{reply[1][0]}.0.0" if reply else status
    return status


def speaks(text: str) -> bool:
    """Say whether some words tell why a mail has failed."""
    low = text[:MAX_TEXT].lower()
    return any(pattern.search(low) for pattern in (_POLICY, _FULL, _GONE, _LATER, CODE, _REPLY))


def cause(text: str) -> str:
    """Return what is the same in the words that a server has for many recipients."""
    same = [word for word in text[:MAX_TEXT].lower().split() if _VARIES.isdisjoint(word)]
    return words.clean(" ".join(same), MAX_CAUSE)
