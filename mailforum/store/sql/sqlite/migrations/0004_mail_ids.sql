-- Every mail that comes in has an id (ids.py). What was made of it, and what is sent because of it, carries it.
ALTER TABLE post ADD COLUMN mail TEXT NOT NULL DEFAULT '';
ALTER TABLE held ADD COLUMN mail TEXT NOT NULL DEFAULT '';
ALTER TABLE shunt ADD COLUMN mail TEXT NOT NULL DEFAULT '';
ALTER TABLE mailing ADD COLUMN mail TEXT NOT NULL DEFAULT '';
CREATE INDEX mailing_mail ON mailing (mail) WHERE mail <> '';

-- What became of each mail for each of its recipients, also where nothing else is left of it: refused,
-- dropped, known already. Ids are in the order of time, so new rows go to the end and old ones leave
-- from the start; there is no other index, as every mail would pay for a search that few make. It
-- names a list, and does not depend on it: what was, stays true.
CREATE TABLE event (
    mail TEXT NOT NULL,
    at REAL NOT NULL,
    rcpt TEXT NOT NULL,
    what TEXT NOT NULL,                     -- post 48.3, held 7: …, refused: …, approved, …
    text TEXT NOT NULL,                     -- what the sender was told
    code INTEGER NOT NULL,                  -- 0: nobody was told
    message_id TEXT NOT NULL,
    mail_from TEXT NOT NULL,
    peer TEXT NOT NULL,
    size INTEGER NOT NULL,
    list_id INTEGER,
    PRIMARY KEY (mail, at, rcpt, what)
) WITHOUT ROWID;

-- So that counting what is in trouble does not take reading what is not.
CREATE INDEX delivery_deferred ON delivery (created_at) WHERE state = 'deferred';
CREATE INDEX delivery_failed ON delivery (done_at) WHERE state = 'failed';
CREATE INDEX member_suspended ON member (list_id) WHERE status = 'suspended';
