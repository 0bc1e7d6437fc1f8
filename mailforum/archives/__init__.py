"""Archives as other programs have them: files, folders and repositories, read as streams of mails.

    for mail in tree.mails(path, Reading(), Meter()):   # anything: what it is shows
        mail.where, mail.raw, mail.received

One file for each kind. Every reader takes a place, a `Reading` and a `Meter`, and yields `Mail`, one at a
time and in the order in which the archive has them; what cannot be read is a `Mail` with a `fault`, and
the next one follows. Nothing here knows what a list is; mail/ knows no files.
"""
