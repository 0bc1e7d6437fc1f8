"""Threads compared: ours, those of other programs, and the truth where an archive was made up."""
