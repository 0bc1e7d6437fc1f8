"""A sample of each text's values: `Texts.check` tries the admin's own texts with them.

They are also the list of texts, and of what each may use (docs/texts.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from mailforum.delivery.views import DigestAttachment, DigestPost, DigestThread, ListView, digest_values
from mailforum.mail.body import Block
from mailforum.model import MailingList
from mailforum.settings import ListSettings

_AT = 1_763_820_300.0
_LIST = MailingList(1, "pmo@lists.example.org", "Project Management Office", ListSettings(), _AT)
_COMMON: dict[str, object] = {
    "site": "lists.example.org",
    "list": ListView.of(_LIST),
    "to": "bob@example.com",
}

_POSTS = (
    DigestPost(
        "#48.1",
        "Ann Other",
        "ann@example.org",
        "Fri 21 Nov 2025, 09:12",
        (
            Block("text", ("Hello,", "", "here is the draft of our budget: https://example.org/budget."), 0),
            Block("signature", ("-- ", "Ann Other, treasurer"), 0),
        ),
        (DigestAttachment("budget 2026.ods", "48 KB"),),
        new=False,
    ),
    DigestPost(
        "#48.2",
        "Bob Builder",
        "bob@example.com",
        "Fri 21 Nov 2025, 18:40",
        (
            Block("quote", ("On Friday, Ann Other wrote:", "> Hello,", ">"), 12),
            Block("text", ("Thank you! I would put <more> into the roof & less into paint.",), 0),
        ),
        reply="pmo+r.sample@lists.example.org",
    ),
)
_THREADS = (
    DigestThread("#48", "Budget for 2026", _POSTS),
    DigestThread("#51", "Who has the key to the room upstairs?", _POSTS[1:]),
)
_HELD = {"held_id": 12, "subject": "Offer", "reason": "The sender is not a member of the list."}
_BOUNCED = "550 5.1.1 <bob@example.com>: Recipient address rejected: User unknown"

_OWN: dict[str, dict[str, object]] = {
    "digest/digest": digest_values(7, _AT, _THREADS, UTC),
    "notice/already-member": {},
    "notice/changed": {"mode": "digest"},
    "notice/confirm": {"action": "set", "mode": "digest", "days": 3},
    "notice/digest-reply": {},
    "notice/goodbye": {},
    "notice/held": _HELD,
    "notice/help": {},
    "notice/info": {},
    "notice/join-pending": {},
    "notice/join-refused": {},
    "notice/lists": {"rows": (("pmo@lists.example.org", "Project Management Office"),)},
    "notice/not-member": {},
    "notice/probe": {"reply": _BOUNCED},
    "notice/refused": {"reason": "Only members may write to this list."},
    "notice/rejected": {"subject": "Offer", "reason": "No offers on this list, please."},
    "notice/results": {"outcomes": (("set digest daily", "asked", ""), ("dance", "unknown", ""))},
    "notice/returned": {},
    "notice/settings": {"rows": (("pmo@lists.example.org", "digest", "active"),)},
    "notice/suspended": {"reply": _BOUNCED},
    "notice/welcome": {"mode": "each"},
    "owner/bounces": {
        "rows": (("bob@example.com", "suspended", 6, _BOUNCED), ("eve@example.net", "counting", 2, "")),
        "more": 3,
        "counts": {"hard": 4, "policy": 2, "unproven": 1},
    },
    "owner/complaint": {"address": "bob@example.com", "role": "member"},
    "owner/held": {**_HELD, "who": "Eve <eve@example.net>", "excerpt": "Dear all,\n\nbuy now!"},
    "owner/held-more": {"rows": ((13, "eve@example.net", "Offer"), (14, "kim@example.net", "Hello")), "count": 52},
    "owner/join-request": {"address": "zoe@example.net", "name": "Zoe"},
    "owner/storm": {
        "members": 40,
        "domains": (("example.com", 31), ("example.net", 9)),
        "posts": (("48.3", "Offer", "ann@example.org", 40),),
        "reply": "550 5.7.1 Rejected by policy: the address 192.0.2.1 is on a block list",
        "policy": True,
    },
    "page/invalid": {},
    "page/leave": {},
    "page/left": {},
    "post/footer": {"label": "#48.3"},
}

SAMPLES: Mapping[str, Mapping[str, object]] = {name: {**_COMMON, **own} for name, own in _OWN.items()}
