"""mailforum: a mailing-list discussion system in one process and one file.

To see the way of a message, read `smtpd/intake.py`, then `delivery/worker.py`.
"""

__version__ = "0.1.0"
