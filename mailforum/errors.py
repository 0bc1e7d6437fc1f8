"""What can go wrong, and who is told what.

    MailforumError
    ├── Refused        5yz: the sender's mail, as it is, will never be taken
    ├── Deferred       4yz: not now; the sender keeps it and tries again
    ├── ConfigError    the configuration says something we cannot follow
    └── UsageError     an admin asked for something that is not there or not possible

A `Refused` or `Deferred` carries a reply code (RFC 5321 section 4.2), an enhanced code
(RFC 3463), one sentence for the sender, and a private reason for the log. The public text
never quotes the mail it answers. Whatever is not foreseen is our own fault and therefore
temporary: `smtpd/session.py` turns any other exception into 451 4.3.0.
"""


class MailforumError(Exception):
    """The root of every error that mailforum raises on purpose."""


class _ReplyError(MailforumError):
    """An answer to an SMTP client: `code`, `enhanced`, `text` (public), `reason` (private)."""

    code: int
    enhanced: str

    def __init__(self, text: str, reason: str = "", *, code: int = 0, enhanced: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason or text
        self.code = code or self.code
        self.enhanced = enhanced or self.enhanced

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


class Refused(_ReplyError):
    """A permanent no. Defaults to 550 5.7.1, "delivery not authorized"."""

    code = 550
    enhanced = "5.7.1"


class Deferred(_ReplyError):
    """Not now. Defaults to 451 4.3.0, "local error in processing"."""

    code = 451
    enhanced = "4.3.0"


class ConfigError(MailforumError):
    """The configuration cannot be used; the text names the file, the line and the option."""


class UsageError(MailforumError):
    """An admin's command cannot be carried out; the text is one clear sentence."""
