"""Which way out the configuration names."""

from __future__ import annotations

from urllib.parse import urlsplit

from mailforum.delivery.hello import Relay
from mailforum.delivery.maildir import MaildirTransport
from mailforum.delivery.smtp import SmtpTransport
from mailforum.delivery.transport import Transport
from mailforum.options import Config


def transport_for(config: Config) -> Transport:
    """Make the transport that `[delivery] relay` names: smtp://, lmtp:// or maildir:."""
    options = config.delivery
    scheme, _, folder = options.relay.partition(":")
    if scheme == "maildir":
        return MaildirTransport(config.path(folder))

    url = urlsplit(options.relay)
    relay = Relay(
        host=url.hostname or "",
        port=url.port or (24 if scheme == "lmtp" else 25),
        lmtp=scheme == "lmtp",
        helo=config.site.domain,
        tls=options.tls,
        user=options.user,
        password=config.password,
        connect_timeout=options.connect_timeout,
        command_timeout=options.command_timeout,
        data_timeout=options.data_timeout,
    )
    return SmtpTransport(relay)
