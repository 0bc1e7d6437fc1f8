"""Kill the server again and again while mail flows, and keep the books.

    python -m tests.chaos --kills 200 --seconds 60 --seed 1

A real `mailforum serve` takes mail over SMTP and LMTP from senders that repeat what was not answered,
and sends to a relay that remembers all it kept. It is killed with SIGKILL at every stage of its work
(`stages.py`) and started again. Then the books (`ledger.py`) must say: nothing lost, torn or damaged;
second copies only of what was on its way at a kill, one transaction a connection at most; and each of
these was named in the log as uncertain.
"""
