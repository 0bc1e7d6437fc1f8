-- The first schema. Times are seconds since the epoch; ids never come back (AUTOINCREMENT)
-- where they stand in tokens or in what people have seen.

CREATE TABLE list (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    settings TEXT NOT NULL,                 -- ListSettings as JSON
    last_thread INTEGER NOT NULL DEFAULT 0, -- the newest thread number given
    last_issue INTEGER NOT NULL DEFAULT 0,  -- the newest digest number given
    digested_post INTEGER NOT NULL DEFAULT 0, -- posts up to this id have been in a digest
    digested_at REAL NOT NULL,              -- when the last digest was cut
    created_at REAL NOT NULL
);

CREATE TABLE member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    address TEXT NOT NULL,                  -- as it is written to
    key TEXT NOT NULL,                      -- as it is compared
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    own_posts INTEGER NOT NULL,
    joined_at REAL NOT NULL,
    UNIQUE (list_id, key)
);
CREATE INDEX member_key ON member (key);

CREATE TABLE thread (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    number INTEGER NOT NULL,
    subject TEXT NOT NULL,
    last_label INTEGER NOT NULL DEFAULT 0,  -- the newest post number given in this thread
    merged_into INTEGER REFERENCES thread ON DELETE SET NULL,
    created_at REAL NOT NULL,
    UNIQUE (list_id, number)
);
CREATE INDEX thread_merged ON thread (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE post (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    thread_id INTEGER NOT NULL REFERENCES thread,
    label TEXT NOT NULL,                    -- 48.3, for ever
    parent_id INTEGER REFERENCES post ON DELETE SET NULL,
    reach INTEGER NOT NULL,                 -- how many of its references tie it to its thread
    message_id TEXT NOT NULL,
    from_address TEXT NOT NULL,
    from_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    date REAL NOT NULL,
    received_at REAL NOT NULL,
    size INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,              -- what makes the same mail known again
    imported INTEGER NOT NULL,              -- from an archive: never sent, in no digest
    UNIQUE (list_id, label)
);
CREATE INDEX post_fingerprint ON post (list_id, fingerprint);
CREATE INDEX post_thread ON post (thread_id);
CREATE INDEX post_list ON post (list_id, id);
CREATE INDEX post_parent ON post (parent_id);

-- A post as people list it (model.Post).
CREATE VIEW listed_post AS
SELECT post.id, post.list_id, post.thread_id, thread.number AS thread, post.label, post.parent_id,
       parent.message_id AS parent, post.message_id, post.from_address, post.from_name, post.subject,
       post.date, post.received_at, post.size, post.imported
FROM post JOIN thread ON thread.id = post.thread_id LEFT JOIN post AS parent ON parent.id = post.parent_id;

CREATE TABLE body (
    post_id INTEGER PRIMARY KEY REFERENCES post ON DELETE CASCADE,
    raw BLOB NOT NULL
);

-- Every Message-ID that a list has heard of. A row without a post is a ghost: somebody has named
-- it, nobody has sent it (yet).
CREATE TABLE message_id (
    id INTEGER PRIMARY KEY,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    msgid TEXT NOT NULL,
    post_id INTEGER REFERENCES post ON DELETE SET NULL,
    UNIQUE (list_id, msgid)
);
CREATE INDEX message_id_post ON message_id (post_id);

-- What each post says it answers, nearest first (position 0 is the wanted parent).
CREATE TABLE reference (
    post_id INTEGER NOT NULL REFERENCES post ON DELETE CASCADE,
    position INTEGER NOT NULL,
    message_id INTEGER NOT NULL REFERENCES message_id ON DELETE CASCADE,
    PRIMARY KEY (post_id, position)
) WITHOUT ROWID;
CREATE INDEX reference_message_id ON reference (message_id);

-- What has already been taken in, so that the same mail is never handled twice.
CREATE TABLE seen (
    rcpt TEXT NOT NULL,
    digest BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (rcpt, digest)
) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);

CREATE TABLE held (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    mail_from TEXT NOT NULL,
    from_address TEXT NOT NULL,
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    under TEXT NOT NULL,                    -- Message-ID of the post it answers, if our reply address said so
    received_at REAL NOT NULL,
    raw BLOB NOT NULL
);

-- Questions to members that wait for their reply.
CREATE TABLE request (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    action TEXT NOT NULL,                   -- join, leave or set
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    done_at REAL
);
CREATE INDEX request_expires ON request (expires_at);

-- How many automatic answers an address was sent on a day.
CREATE TABLE answer (
    day INTEGER NOT NULL,
    list_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (day, list_id, key)
) WITHOUT ROWID;

CREATE TABLE issue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    number INTEGER NOT NULL,
    after_post INTEGER NOT NULL,            -- the posts with after_post < id <= last_post
    last_post INTEGER NOT NULL,
    posts INTEGER NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (list_id, number)
);

-- One thing to be sent to one or to many: the text is made from it when it is sent.
CREATE TABLE mailing (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER REFERENCES list ON DELETE CASCADE,
    kind TEXT NOT NULL,                     -- post, digest, notice or forward
    ref_id INTEGER,                         -- the post or the issue
    template TEXT NOT NULL,
    data TEXT NOT NULL,                     -- the template's values as JSON
    reply_to TEXT NOT NULL,
    mail_from TEXT NOT NULL,
    raw BLOB,                               -- of a forward
    created_at REAL NOT NULL
);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mailing_id INTEGER NOT NULL REFERENCES mailing ON DELETE CASCADE,
    list_id INTEGER REFERENCES list ON DELETE CASCADE,
    member_id INTEGER,
    rcpt TEXT NOT NULL,
    state TEXT NOT NULL,                    -- queued, deferred, sent or failed
    claimed INTEGER NOT NULL DEFAULT 0,     -- a worker has it in hand
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    done_at REAL,
    enhanced TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT ''
);
CREATE INDEX delivery_due ON delivery (due_at, id) WHERE done_at IS NULL AND claimed = 0;
CREATE INDEX delivery_claimed ON delivery (id) WHERE claimed = 1;
CREATE INDEX delivery_done ON delivery (done_at) WHERE done_at IS NOT NULL;
CREATE INDEX delivery_mailing ON delivery (mailing_id);
CREATE INDEX delivery_list ON delivery (list_id);

CREATE TABLE bounce (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    enhanced TEXT NOT NULL,
    diagnostic TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX bounce_list ON bounce (list_id, address);

-- Mail that a fault of ours kept from being handled: never lost, to be tried again.
CREATE TABLE shunt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    mail_from TEXT NOT NULL,
    rcpts TEXT NOT NULL,                    -- JSON
    reason TEXT NOT NULL,
    times INTEGER NOT NULL,
    at REAL NOT NULL,
    raw BLOB NOT NULL
);
