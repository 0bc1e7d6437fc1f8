"""The options of a list: name, type, default and help, in one table."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


def _option(help_text: str, ge: int | None = None, le: int | None = None) -> Meta:
    return Meta(description=help_text, ge=ge, le=le)


class ListSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a list, as `mailforum list set` takes them: name, type, default, help."""

    posting: Annotated[
        Literal["members", "anyone", "moderators"], _option("Who may post; others are refused in the session")
    ] = "members"
    nonmembers: Annotated[
        Literal["refuse", "hold"], _option("With posting = members: what happens to a non-member's post")
    ] = "refuse"
    moderated: Annotated[bool, _option("Hold the posts of members until a moderator approves them")] = False
    joining: Annotated[
        Literal["open", "moderated", "closed"],
        _option("Who may join by mail: anyone, anyone whom a moderator lets in, or nobody"),
    ] = "open"
    listed: Annotated[bool, _option("Name the list in the answer to the command `lists`")] = True
    prefix: Annotated[
        str,
        _option("Put before subjects, for example [pmo]; empty: subjects stay as they are and signatures valid"),
    ] = ""
    footer: Annotated[bool, _option("Add a footer to posts; without it the author's signature stays valid")] = False
    reply_to: Annotated[
        Literal["none", "author", "list"],
        _option("Where replies go: as the author set it, to the author, or to the list"),
    ] = "none"
    personal: Annotated[
        bool, _option("One recipient a transaction: own return path and own unsubscribe link; off is faster")
    ] = True
    welcome: Annotated[bool, _option("Send a welcome to new members")] = True
    goodbye: Annotated[bool, _option("Send a goodbye to those who leave")] = True
    max_size: Annotated[int, _option("Largest post in bytes; 0: the site's limit", ge=0)] = 0
    digest: Annotated[bool, _option("Send a daily digest to members who chose it")] = True
    digest_hour: Annotated[int, _option("Hour of the day at which the digest is due", ge=0, le=23)] = 7
    timezone: Annotated[str, _option("Time zone of the digest hour, for example Europe/Vienna")] = "UTC"
    language: Annotated[str, _option("Language of the texts: a folder under templates/")] = "en"
    bounce_limit: Annotated[
        int,
        _option("Points at which a member whose mail comes back gets no more; 0: never", ge=0, le=100),
    ] = 6
    bounce_decay: Annotated[
        int, _option("Days without failure after which one of these points is forgotten", ge=1, le=365)
    ] = 7
    bounce_probe: Annotated[
        bool, _option("Test an address with a mail of its own before it gets no more; off: stop at once")
    ] = True
    archive_url: Annotated[
        str, _option("Where an archive shows a post; {id} and {msgid} are filled in. Empty: no Archived-At")
    ] = ""
    subject_days: Annotated[
        int,
        _option("Days for which a reply that names no post may be found by its subject; 0: never", ge=0, le=365),
    ] = 30
    new_subject_new_thread: Annotated[
        bool, _option("A reply with a new subject that quotes nothing begins a thread of its own")
    ] = False
