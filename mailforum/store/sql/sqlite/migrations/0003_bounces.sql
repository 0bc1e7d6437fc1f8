-- What comes of mail that does not arrive: every report, a score for each member whose mail comes back,
-- and storms, in which many fail in the same words at once.

ALTER TABLE bounce ADD COLUMN member_id INTEGER;             -- null: nothing proves whom it is about
ALTER TABLE bounce ADD COLUMN kind TEXT NOT NULL DEFAULT 'unproven'; -- hard, soft, policy, delayed, complaint
ALTER TABLE bounce ADD COLUMN domain TEXT NOT NULL DEFAULT '';
ALTER TABLE bounce ADD COLUMN cause TEXT NOT NULL DEFAULT ''; -- what is the same in the words to many
ALTER TABLE bounce ADD COLUMN about TEXT NOT NULL DEFAULT ''; -- the Message-ID of the mail that failed
CREATE INDEX bounce_at ON bounce (list_id, at);
CREATE INDEX bounce_cause ON bounce (list_id, cause, at);

CREATE TABLE failing (
    member_id INTEGER PRIMARY KEY REFERENCES member ON DELETE CASCADE,
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    state TEXT NOT NULL,                    -- counting, probing, returned (the probe), suspended
    points INTEGER NOT NULL,
    hard INTEGER NOT NULL,                  -- days on which mail failed for good
    soft INTEGER NOT NULL,                  -- days on which it failed for now
    first_at REAL NOT NULL,                 -- when these days began
    step_at REAL NOT NULL,                  -- the last that counted
    step TEXT NOT NULL,                     -- hard, soft or none
    at REAL NOT NULL,                       -- the last failure, whether or not it counted
    enhanced TEXT NOT NULL,
    reply TEXT NOT NULL,
    cause TEXT NOT NULL,
    storm_at REAL NOT NULL,                 -- when it was last counted for a storm
    due_at REAL,                            -- when the clock looks at it again
    probe INTEGER NOT NULL DEFAULT 0,       -- the mailing that tests the address
    probed_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX failing_due ON failing (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX failing_list ON failing (list_id);

CREATE TABLE storm (
    list_id INTEGER NOT NULL REFERENCES list ON DELETE CASCADE,
    domain TEXT NOT NULL,                   -- of the members; empty where it is about our mail, not about them
    cause TEXT NOT NULL,
    members INTEGER NOT NULL,               -- how many, since
    since REAL NOT NULL,
    reply TEXT NOT NULL,
    told_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (list_id, domain, cause)
);
CREATE INDEX storm_since ON storm (since);

-- Up to when a list's owners have been told of bounces, and when they are to be told again.
CREATE TABLE bounce_summary (
    list_id INTEGER PRIMARY KEY REFERENCES list ON DELETE CASCADE,
    until REAL NOT NULL,
    due_at REAL
);
CREATE INDEX bounce_summary_due ON bounce_summary (due_at) WHERE due_at IS NOT NULL;
