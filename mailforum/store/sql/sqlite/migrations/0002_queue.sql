-- What a worker has in hand is no longer written down, only what may be on its way: one row for each
-- connection. A big list is fanned out in steps; the mailing knows how far that has come.

CREATE TABLE new_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mailing_id INTEGER NOT NULL REFERENCES mailing ON DELETE CASCADE,
    member_id INTEGER,
    rcpt TEXT NOT NULL,
    state TEXT NOT NULL,                    -- queued, deferred, sent or failed
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    done_at REAL,
    enhanced TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT ''
);
INSERT INTO new_delivery (id, mailing_id, member_id, rcpt, state, attempts, created_at, due_at, done_at, enhanced, reply)
SELECT id, mailing_id, member_id, rcpt, state, attempts, created_at, due_at, done_at, enhanced, reply
FROM delivery ORDER BY id;
DROP TABLE delivery;
ALTER TABLE new_delivery RENAME TO delivery;
CREATE INDEX delivery_pending ON delivery (due_at, mailing_id, id) WHERE done_at IS NULL;
CREATE INDEX delivery_mailing ON delivery (mailing_id);

-- The deliveries whose mail may have been handed over without us knowing: written before it is.
CREATE TABLE in_flight (
    lane INTEGER PRIMARY KEY,
    deliveries TEXT NOT NULL                -- ids as JSON
);

-- Attempts that did not succeed.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    delivery_id INTEGER NOT NULL REFERENCES delivery ON DELETE CASCADE,
    at REAL NOT NULL,
    enhanced TEXT NOT NULL,
    reply TEXT NOT NULL
);
CREATE INDEX attempt_delivery ON attempt (delivery_id);

-- The members with fan_after < id <= fan_last still have no delivery.
ALTER TABLE mailing ADD COLUMN fan_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailing ADD COLUMN fan_last INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailing ADD COLUMN fan_modes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE mailing ADD COLUMN fan_author TEXT NOT NULL DEFAULT '';
CREATE INDEX mailing_fanning ON mailing (id) WHERE fan_after < fan_last;
CREATE INDEX mailing_list ON mailing (list_id);
CREATE INDEX member_list ON member (list_id, id);
-- Who is in charge of a list is asked for each post that is held: not to be looked for among all members.
CREATE INDEX member_in_charge ON member (list_id, key) WHERE role IN ('owner', 'moderator');
