-- What threading knows of each post, so that the tree can be worked out anew without its bytes.

ALTER TABLE post ADD COLUMN how INTEGER NOT NULL DEFAULT 0;          -- model.How: how the parent was found
ALTER TABLE post ADD COLUMN named_id INTEGER;           -- the nearest post that it names; mostly its parent
ALTER TABLE post ADD COLUMN named_how INTEGER NOT NULL DEFAULT 0;    -- where that name stood
ALTER TABLE post ADD COLUMN claim_id INTEGER;           -- of an orphan: the post whose claim its group follows
ALTER TABLE post ADD COLUMN base TEXT NOT NULL DEFAULT '';           -- subject for comparing only
ALTER TABLE post ADD COLUMN thread_index TEXT NOT NULL DEFAULT '';   -- its own Thread-Index in hex
ALTER TABLE post ADD COLUMN lonely INTEGER NOT NULL DEFAULT 0;       -- a reply without names: may be looked up by subject
ALTER TABLE post ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;        -- quotes nothing: a new subject begins a thread
-- What moderators have decided: no parent, or another than it names.
ALTER TABLE post ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
ALTER TABLE post ADD COLUMN put_under INTEGER REFERENCES post ON DELETE SET NULL;
ALTER TABLE thread ADD COLUMN named INTEGER NOT NULL DEFAULT 0;      -- renamed by a moderator

ALTER TABLE reference ADD COLUMN how INTEGER NOT NULL DEFAULT 3;

UPDATE post SET named_how = CASE (
    SELECT min(position) FROM reference JOIN message_id ON message_id.id = reference.message_id
    WHERE reference.post_id = post.id AND message_id.post_id IS NOT NULL) WHEN 0 THEN 2 ELSE 3 END,
    named_id = (
    SELECT message_id.post_id FROM reference JOIN message_id ON message_id.id = reference.message_id
    WHERE reference.post_id = post.id AND message_id.post_id IS NOT NULL ORDER BY position LIMIT 1);
UPDATE post SET named_how = 0 WHERE named_id IS NULL;
UPDATE post SET how = named_how WHERE parent_id IS NOT NULL;
UPDATE post SET base = lower((SELECT subject FROM thread WHERE thread.id = post.thread_id));
UPDATE reference SET how = 2 WHERE position = 0;

-- Ids are compared in small letters; of two that were told apart by nothing else, the one with the first post stays.
CREATE INDEX message_id_low ON message_id (list_id, lower(msgid));
UPDATE reference SET message_id = (
    SELECT kept.id FROM message_id AS one
    JOIN message_id AS kept ON kept.list_id = one.list_id AND lower(kept.msgid) = lower(one.msgid)
    WHERE one.id = reference.message_id ORDER BY kept.post_id IS NULL, kept.post_id, kept.id LIMIT 1);
DELETE FROM message_id WHERE id <> (
    SELECT kept.id FROM message_id AS kept
    WHERE kept.list_id = message_id.list_id AND lower(kept.msgid) = lower(message_id.msgid)
    ORDER BY kept.post_id IS NULL, kept.post_id, kept.id LIMIT 1);
UPDATE message_id SET msgid = lower(msgid) WHERE msgid <> lower(msgid);
DROP INDEX message_id_low;

DROP VIEW listed_post;
CREATE VIEW listed_post AS
SELECT post.id, post.list_id, post.thread_id, thread.number AS thread, post.label, post.parent_id,
       parent.message_id AS parent, post.how, post.message_id, post.from_address, post.from_name, post.subject,
       post.date, post.received_at, post.size, post.imported
FROM post JOIN thread ON thread.id = post.thread_id LEFT JOIN post AS parent ON parent.id = post.parent_id;

CREATE INDEX post_put_under ON post (put_under) WHERE put_under IS NOT NULL;
CREATE INDEX post_root ON post (thread_id, date) WHERE parent_id IS NULL;
-- The guarded look by subject (forum/same_subject.py): where a lonely reply may belong, and which replies are lonely.
CREATE INDEX post_base ON post (list_id, base, date) WHERE base <> '';
CREATE INDEX post_lonely ON post (list_id, base, date) WHERE lonely;
