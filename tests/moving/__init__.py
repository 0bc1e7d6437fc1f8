"""Move a large site to PostgreSQL and back while everything that can go wrong does.

    python -m tests.moving --posts 100000 --kills 10 --seed 1

The command is killed at any moment, the server as well, its disk is filled; then the command is given once more.
What has arrived is compared by a way of its own, the site is served there, takes mail in and sends what had waited,
and moves back. What it has moved from is served no more.
"""
