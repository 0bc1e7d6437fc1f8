-- A reply whose subject says `(was: …)` is also looked for under that.
ALTER TABLE post ADD COLUMN was TEXT NOT NULL DEFAULT '';

CREATE INDEX post_lonely_was ON post (list_id, was, date) WHERE lonely AND was <> '';
CREATE INDEX post_lonely_thread ON post (thread_id, date) WHERE lonely;
