"""A list's footer, put under a post without touching one byte of what the author wrote.

The original body stays in the mail as it was, whole and in its own encoding, so the text of the
footer is always added behind it: at the end of a plain text, as a last part of a multipart/mixed,
or in a new multipart/mixed around the two. What is signed or encrypted goes without a footer.
"""

import binascii
import hashlib
import re

from mailforum.mail import mime
from mailforum.mail.message import Header, Message, field, normalise

_SEALED = frozenset(
    ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"]
    + ["application/pgp-encrypted", "application/pgp"]
)
_PLAIN_ENCODINGS = frozenset(["7bit", "8bit", "binary"])
