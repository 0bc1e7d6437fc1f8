"""From a mailing in the queue to the bytes of each recipient's mail.

What all recipients have in common is made once: header fields, body, and the hashes that signing
needs. A recipient costs a few fields of their own and one join. The same delivery always gives
the same bytes, so that a repeated send can be recognised by whoever receives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formataddr
from urllib.parse import quote
from zoneinfo import ZoneInfo

from mailforum.delivery import compose, views
from mailforum.delivery.render import Rendered, Texts
from mailforum.delivery.sign import Key, Signing
from mailforum.delivery.transport import Content
from mailforum.forum import digests, members, posts
from mailforum.forum.site import Site
from mailforum.mail import address, body, footer, headers, message, msgid, subject, verp
from mailforum.mail.message import Header, Message, field
from mailforum.model import Due, Issue, Kind, Mailing, MailingList, Post
from mailforum.store import lists, queue
from mailforum.store import posts as post_rows
from mailforum.store.database import Tx

_GAP = "T" * 26  # where a token will stand; tokens and our addresses have no capitals


@dataclass(frozen=True, slots=True)
class Prepared:
    """A mailing ready to go. `personal` says that each recipient gets a transaction of their own."""

    mailing: Mailing
    mlist: MailingList | None
    personal: bool
    content: Content
    signing: Signing | None
    unsubscribe: Callable[[Due], bytes]
    return_path: Callable[[str, int | None], str] | None = None

    @property
    def mail_from(self) -> str:
        """The envelope sender, before VERP."""
        return self.mailing.mail_from

    @property
    def slow(self) -> bool:
        """Whether `own` takes long enough to be worth a thread: it does where RSA signs."""
        return self.signing is not None and self.signing.slow

    def envelope_sender(self, delivery: Due) -> str:
        """The return path for one recipient; personal mail names its recipient in it (VERP)."""
        if self.personal and self.return_path:
            return self.return_path(delivery.rcpt, delivery.member_id)
        return self.mail_from

    def own(self, delivery: Due) -> bytes:
        """The fields of one recipient, and the signatures if there are keys."""
        fields = self.unsubscribe(delivery)
        return self.signing.sign(fields, self.mailing.created_at) + fields if self.signing else fields


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes mailings ready. `keys` finds the DKIM keys of a domain; `web_url` is ours, or empty."""

    site: Site
    texts: Texts
    keys: Callable[[str], tuple[Key, ...]]
    web_url: str = ""

    def prepare(self, tx: Tx, mailing_id: int) -> Prepared:
        """Read a mailing and make what all its recipients have in common.

        Raises LookupError when what it carries is gone.
        """
        mailing = queue.mailing(tx, mailing_id)
        if mailing is None:
            raise LookupError(f"mailing {mailing_id} is gone")
        mlist = lists.by_id(tx, mailing.list_id) if mailing.list_id else None
        if mailing.kind is Kind.FORWARD:
            return self._forward(tx, mailing, mlist)
        if mlist is None or mailing.kind is Kind.NOTICE:
            return self._notice(tx, mailing, mlist)
        return self._post(tx, mailing, mlist) if mailing.kind is Kind.POST else self._digest(tx, mailing, mlist)

    def _post(self, tx: Tx, mailing: Mailing, mlist: MailingList) -> Prepared:
        post = post_rows.by_id(tx, mailing.ref_id or 0)
        if post is None:
            raise LookupError(f"post {mailing.ref_id} is gone")
        msg = for_list(message.parse(post_rows.raw(tx, post.id)), mlist, post)
        topic = subject.base(msg.subject, mlist.settings.prefix)
        msg = msg.prepend(*headers.thread_fields(msg, post_rows.thread_index(tx, post.id), topic))
        if mlist.settings.footer:
            msg = footer.add(msg, self._text("post/footer", mlist, mlist.address, {"label": f"#{post.label}"}).text)
        return self._prepared(mailing, mlist, msg, personal=mlist.settings.personal)

    def _digest(self, tx: Tx, mailing: Mailing, mlist: MailingList) -> Prepared:
        issue = _issue(tx, mailing)
        zone = ZoneInfo(mlist.settings.timezone)
        new = post_rows.between(tx, mlist.id, issue.after_post, issue.last_post)
        groups = [
            views.DigestThread(
                f"#{thread.number}",
                thread.subject,
                tuple(self._digest_post(tx, mlist, post, zone) for post in ordered),
            )
            for thread, ordered in digests.grouped(tx, mlist.id, new)
        ]
        values = views.digest_values(issue.number, issue.created_at, groups, zone)
        text = self._text("digest/digest", mlist, mlist.address, values)
        fields = [
            ("From", formataddr((mlist.title or mlist.name, mlist.sub("request")))),
            ("To", mlist.address),
            ("Date", compose.date(issue.created_at)),
            ("Message-ID", msgid.of_digest(issue.number, mailing.id, mlist.name, mlist.domain)),
            ("Auto-Submitted", "auto-generated"),
        ]
        msg = message.parse(_composed(fields, text, f"digest {mailing.id}"))
        msg = msg.prepend(*headers.list_fields(mlist), field("Sender", mlist.sub("bounces")))
        return self._prepared(mailing, mlist, msg, personal=mlist.settings.personal)

    def _digest_post(self, tx: Tx, mlist: MailingList, post: Post, zone: ZoneInfo) -> views.DigestPost:
        raw = post_rows.raw(tx, post.id)  # one at a time: a day's posts may not fit into memory
        token = posts.reply_token(self.site.signer, mlist, post.id)
        reply = f"{mlist.name}+r.{token}@{mlist.domain}"
        return views.digest_post(post, body.read(message.parse(raw)), zone, reply=reply)

    def _notice(self, tx: Tx, mailing: Mailing, mlist: MailingList | None) -> Prepared:
        to = queue.first_recipient(tx, mailing.id)
        text = self._text(mailing.template, mlist, to, mailing.values)
        sender = mailing.reply_to or (mlist.sub("request") if mlist else self.site.address)
        domain = mlist.domain if mlist else self.site.domain
        fields = [
            ("From", formataddr(((mlist.title or mlist.name) if mlist else "mailforum", sender))),
            ("To", to),
            *([("Reply-To", mailing.reply_to)] if mailing.reply_to else []),
            ("Date", compose.date(mailing.created_at)),
            ("Message-ID", msgid.of_notice(mailing.id, mailing.created_at, domain)),
            ("Auto-Submitted", "auto-replied"),
            ("X-Auto-Response-Suppress", "All"),
        ]
        msg = message.parse(_composed(fields, text, f"notice {mailing.id}"))
        return self._prepared(mailing, mlist, msg, personal=False, unsubscribe=False)

    def _forward(self, tx: Tx, mailing: Mailing, mlist: MailingList | None) -> Prepared:
        msg = message.parse(queue.mailing_raw(tx, mailing.id))
        msg = msg.prepend(field(headers.LOOP, mailing.template.lower()))
        # Not signed: a stranger wrote it, and our domain must not vouch for that.
        return Prepared(mailing, mlist, False, Content(msg.to_bytes()), None, _nothing)

    def _text(self, name: str, mlist: MailingList | None, to: str, values: dict[str, object]) -> Rendered:
        shown = views.ListView.of(mlist) if mlist else None
        language = mlist.settings.language if mlist else "en"
        values = {**values, "site": self.site.domain, "list": shown, "to": to}
        return self.texts.render(name, language, mlist.name if mlist else "", values)

    def _prepared(
        self, mailing: Mailing, mlist: MailingList | None, msg: Message, *, personal: bool, unsubscribe: bool = True
    ) -> Prepared:
        head = b"".join(header.raw for header in msg.headers)
        keys = self.keys(mlist.domain if mlist else self.site.domain)
        signing = Signing(keys, head, msg.body) if keys else None
        way_out = self._way_out(mlist, personal) if mlist and unsubscribe else _nothing
        paths = verp.paths(self.site.signer, mailing.mail_from, mailing.created_at) if mailing.mail_from else None
        return Prepared(mailing, mlist, personal, Content(msg.to_bytes()), signing, way_out, paths)

    def _way_out(self, mlist: MailingList, personal: bool) -> Callable[[Due], bytes]:
        """How a reader leaves: an address of their own that needs no confirmation, or the common one."""
        common = _raw(headers.unsubscribe_fields(mlist.sub("leave")))
        url = f"{self.web_url}/leave/{_GAP}" if self.web_url else ""
        around = _raw(headers.unsubscribe_fields(mlist.sub("leave", _GAP), url)).split(_GAP.encode())

        def own(delivery: Due) -> bytes:
            if delivery.member_id is None:
                return common
            token = members.leave_token(self.site.signer, mlist, delivery.member_id, address.key(delivery.rcpt))
            return token.encode().join(around)

        return own if personal else lambda delivery: common


def for_list(msg: Message, mlist: MailingList, post: Post) -> Message:
    """Return a post as the list sends it: the list's fields set, every other byte as it came."""
    msg = headers.strip_for_list(msg)
    if mlist.settings.prefix:
        first = next((header for header in msg.headers if header.name.lower() == "subject"), None)
        msg = _replace(msg, "Subject", subject.prefix_subject(first, mlist.settings.prefix))
    if not any(map(msgid.message_id, msg.get_all("Message-ID"))):  # none by which an answer could name it
        msg = _replace(msg, "Message-ID", field("Message-ID", post.message_id))
    if not msg.get("Date"):
        msg = _replace(msg, "Date", field("Date", compose.date(post.received_at)))
    msg = _reply_to(msg, mlist)
    archived_at = _archived_at(mlist, post)
    return msg.prepend(
        _received(mlist, post),
        *headers.list_fields(mlist, archived_at=archived_at),
        field("Sender", mlist.sub("bounces")),
        field("X-Mailforum-Id", f"#{post.label}"),
        field("X-Mailforum-Thread", f"#{post.thread}"),
    )


def _received(mlist: MailingList, post: Post) -> Header:
    """The trace of this list (RFC 5321 section 4.4). Where the author sat is nobody's business."""
    date = compose.date(post.received_at)
    return field("Received", f"by {mlist.domain} (mailforum) id {post.label} for <{mlist.address}>; {date}")


def _reply_to(msg: Message, mlist: MailingList) -> Message:
    if mlist.settings.reply_to == "list":
        return _replace(msg, "Reply-To", field("Reply-To", mlist.address))
    if mlist.settings.reply_to == "author" and not msg.get("Reply-To") and msg.author and msg.author.address.isascii():
        return msg.prepend(field("Reply-To", msg.author.address))
    return msg


def _replace(msg: Message, name: str, header: Header) -> Message:
    return msg.replace(name, header) if msg.get_all(name) else msg.prepend(header)


def _archived_at(mlist: MailingList, post: Post) -> str:
    url = mlist.settings.archive_url
    return url.replace("{id}", post.label).replace("{msgid}", quote(post.message_id.strip("<>"), safe="@"))


def _issue(tx: Tx, mailing: Mailing) -> Issue:
    """The issue that a digest carries; a preview to one address has it in its values."""
    if mailing.ref_id is not None:
        return digests.issue(tx, mailing.ref_id)
    return Issue(
        id=0,
        list_id=mailing.list_id or 0,
        number=int(str(mailing.values["number"])),
        after_post=int(str(mailing.values["after_post"])),
        last_post=int(str(mailing.values["last_post"])),
        posts=0,
        created_at=mailing.created_at,
    )


def _composed(fields: list[tuple[str, str]], text: Rendered, seed: str) -> bytes:
    return compose.mail([*fields, *text.headers], text.text, text.html, seed)


def _raw(fields: list[Header]) -> bytes:
    return b"".join(header.raw for header in fields)


def _nothing(delivery: Due) -> bytes:
    return b""
