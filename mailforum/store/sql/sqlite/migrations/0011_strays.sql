-- Whether a list has a mail is asked by its Message-ID. Only a stray has to be found by its fingerprint: another post
-- owns its Message-ID, or it came without one. So a post of a long list writes one page less, anywhere in a large index.
ALTER TABLE post ADD COLUMN stray INTEGER NOT NULL DEFAULT 0;
UPDATE post SET stray = 1
WHERE message_id LIKE '%.mailforum@%' OR NOT EXISTS (
    SELECT 1 FROM message_id WHERE message_id.post_id = post.id AND message_id.msgid = lower(post.message_id));
DROP INDEX post_fingerprint;
CREATE INDEX post_stray ON post (list_id, fingerprint) WHERE stray;
