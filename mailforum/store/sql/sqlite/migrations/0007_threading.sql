-- What threading knows of each post, so that the tree can be worked out anew without its bytes.

ALTER TABLE post ADD COLUMN how INTEGER NOT NULL DEFAULT 0;          -- how the parent was found (model.How)
ALTER TABLE post ADD COLUMN named_id INTEGER;                        -- the nearest post that it names, mostly its parent
ALTER TABLE post ADD COLUMN named_how INTEGER NOT NULL DEFAULT 0;    -- where that name stood
ALTER TABLE post ADD COLUMN claim_id INTEGER;                        -- an orphan hangs where this post's claim says
ALTER TABLE post ADD COLUMN knot INTEGER NOT NULL DEFAULT 0;         -- a circle keeps it from where it belongs
ALTER TABLE post ADD COLUMN base TEXT NOT NULL DEFAULT '';           -- subject for comparing only
ALTER TABLE post ADD COLUMN thread_index TEXT NOT NULL DEFAULT '';   -- its own Thread-Index in hex
ALTER TABLE post ADD COLUMN lonely INTEGER NOT NULL DEFAULT 0;       -- a reply without names, may be looked up by subject
ALTER TABLE post ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;        -- begins a thread where its subject is a new one
ALTER TABLE post ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;        -- it does
ALTER TABLE post ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;          -- a moderator has cut it from its parent
ALTER TABLE post ADD COLUMN put_under INTEGER REFERENCES post ON DELETE SET NULL; -- or has put it here; both: its subject had put it here
ALTER TABLE thread ADD COLUMN named INTEGER NOT NULL DEFAULT 0;      -- a moderator has given it its subject

-- A row of `reference` is a name that nobody has sent (yet), nearer than the post that is named: should it turn
-- up, the post is to be looked at again. What stands farther cannot change the tree any more.
ALTER TABLE reference ADD COLUMN how INTEGER NOT NULL DEFAULT 3;
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
-- Nobody answers themselves, also not by their own id in other letters.
DELETE FROM reference WHERE EXISTS (
    SELECT 1 FROM message_id WHERE message_id.id = reference.message_id AND message_id.post_id = reference.post_id);

UPDATE post SET (named_id, named_how) = (
    SELECT message_id.post_id, reference.how FROM reference JOIN message_id ON message_id.id = reference.message_id
    WHERE reference.post_id = post.id AND message_id.post_id IS NOT NULL ORDER BY reference.position LIMIT 1)
WHERE EXISTS (
    SELECT 1 FROM reference JOIN message_id ON message_id.id = reference.message_id
    WHERE reference.post_id = post.id AND message_id.post_id IS NOT NULL);
UPDATE post SET how = named_how WHERE parent_id IS NOT NULL;
UPDATE post SET base = lower((SELECT subject FROM thread WHERE thread.id = post.thread_id));
DELETE FROM reference WHERE EXISTS (
    SELECT 1 FROM reference AS near JOIN message_id ON message_id.id = near.message_id
    WHERE near.post_id = reference.post_id AND near.position <= reference.position AND message_id.post_id IS NOT NULL);
ALTER TABLE post DROP COLUMN reach;

-- Where a post belongs by what it names and by what moderators have decided: below `under` (NULL: nothing is known).
CREATE VIEW stance AS
SELECT id, list_id, thread_id, label, parent_id, how, claim_id, knot, cut, message_id,
       CASE WHEN put_under IS NOT NULL THEN put_under WHEN cut OR apart THEN NULL ELSE named_id END AS under,
       CASE WHEN put_under IS NOT NULL AND cut THEN 6 WHEN put_under IS NOT NULL THEN 7 WHEN cut OR apart THEN 0 ELSE named_how END AS under_how,
       put_under IS NOT NULL OR NOT (cut OR apart) AS tied
FROM post;

-- A post and a ghost that it names: they belong together, or else (a claim) the ghost hangs below `under`, too.
CREATE VIEW tie AS
SELECT reference.message_id AS ghost, reference.position, reference.how,
       reference.post_id, stance.thread_id, stance.parent_id, stance.claim_id, stance.message_id, stance.under
FROM reference JOIN stance ON stance.id = reference.post_id
WHERE reference.how < 4 AND stance.tied;  -- not a weak name (model.How)

DROP VIEW listed_post;
CREATE VIEW listed_post AS
SELECT post.id, post.list_id, post.thread_id, thread.number AS thread, post.label, post.parent_id,
       parent.message_id AS parent, post.how, post.message_id, post.from_address, post.from_name, post.subject,
       post.date, post.received_at, post.size, post.imported
FROM post JOIN thread ON thread.id = post.thread_id LEFT JOIN post AS parent ON parent.id = post.parent_id;

CREATE INDEX post_root ON post (thread_id, date) WHERE parent_id IS NULL;
CREATE INDEX post_knot ON post (thread_id) WHERE knot;
CREATE INDEX post_put_under ON post (put_under) WHERE put_under IS NOT NULL;
-- The look by subject (forum/same_subject.py): where a lonely reply may belong, and which replies are lonely.
CREATE INDEX post_base ON post (list_id, base, date) WHERE base <> '';
CREATE INDEX post_lonely ON post (list_id, base, date) WHERE lonely;
