-- name: next_number
UPDATE list SET last_thread = last_thread + 1 WHERE id = :list_id
RETURNING last_thread AS number, coalesce(settings ->> 'prefix', '') AS prefix

-- name: add
INSERT INTO thread (list_id, number, subject, last_label, created_at)
VALUES (:list_id, :number, :subject, :label, :now)

-- name: next_label
UPDATE thread SET last_label = last_label + 1 WHERE id = :id RETURNING number, last_label AS label

-- name: first
SELECT post.id, subject, coalesce(settings ->> 'prefix', '') AS prefix
FROM post JOIN list ON list.id = post.list_id
WHERE thread_id = :id AND parent_id IS NULL ORDER BY date, message_id, post.id LIMIT 1

-- name: roots
SELECT id FROM post WHERE thread_id = :id AND parent_id IS NULL ORDER BY id

-- name: entitle
UPDATE thread SET subject = :subject WHERE id = :id AND NOT named AND subject <> :subject

-- name: rename
UPDATE thread SET subject = :subject, named = :named WHERE id = :id

-- name: inherit_name
UPDATE thread SET (subject, named) = (SELECT subject, TRUE FROM thread AS other WHERE other.id = :of)
WHERE id = :id AND NOT named AND (SELECT named FROM thread AS other WHERE other.id = :of)

-- name: disinherit
UPDATE thread SET named = FALSE
FROM thread AS merged
WHERE merged.id = :of AND thread.id = merged.merged_into AND merged.named AND thread.named
  AND thread.subject = merged.subject
RETURNING thread.id

-- name: merge
UPDATE thread SET merged_into = :into WHERE (id = :id OR merged_into = :id) AND id <> :into

-- name: merged
SELECT id FROM thread WHERE list_id = :list_id AND number = :number AND merged_into IS NOT NULL

-- name: reopen
UPDATE thread SET merged_into = NULL WHERE id = :id

-- name: by_number
SELECT coalesce(merged_into, id) AS id FROM thread WHERE list_id = :list_id AND number = :number

-- name: by_id
SELECT * FROM listed_thread WHERE id = :id

-- name: by_oldest
SELECT listed_thread.*
FROM post AS first JOIN listed_thread ON listed_thread.id = first.thread_id
WHERE first.list_id = :list_id AND first.parent_id IS NULL AND (first.date, first.thread_id) > (:at, :id)
  AND first.date < :until AND last_at >= :since
  AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.thread_id = first.thread_id AND other.parent_id IS NULL
                  AND (other.date, other.id) < (first.date, first.id))
ORDER BY first.date, first.thread_id LIMIT :limit

-- name: by_newest
SELECT listed_thread.*
FROM post AS first JOIN listed_thread ON listed_thread.id = first.thread_id
WHERE first.list_id = :list_id AND first.parent_id IS NULL AND (first.date, first.thread_id) < (:at, :id)
  AND last_at >= :since
  AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.thread_id = first.thread_id AND other.parent_id IS NULL
                  AND (other.date, other.id) < (first.date, first.id))
ORDER BY first.date DESC, first.thread_id DESC LIMIT :limit

-- name: by_active
SELECT listed_thread.*
FROM post AS latest JOIN listed_thread ON listed_thread.id = latest.thread_id
WHERE latest.list_id = :list_id AND (latest.active_at, latest.thread_id) < (:at, :id)
  AND latest.active_at >= :since AND begun_at < :until
  AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.thread_id = latest.thread_id
                  AND (other.active_at, other.id) > (latest.active_at, latest.id))
ORDER BY latest.active_at DESC, latest.thread_id DESC LIMIT :limit

-- name: of_post
SELECT post.thread_id, thread.number FROM post JOIN thread ON thread.id = post.thread_id WHERE post.id = :id

-- name: heard_of
SELECT message_id.msgid, message_id.id AS name, post.id, post.thread_id, post.base,
       post.thread_index, post.message_id, post.date
FROM ( -- each by itself, whatever is thought of how many there are
    SELECT (SELECT id FROM message_id WHERE list_id = :list_id AND msgid = wanted.value) AS id
    FROM text_each(:msgids) AS wanted) AS known
CROSS JOIN message_id
LEFT JOIN post ON post.id = message_id.post_id
WHERE message_id.id = known.id

-- name: hear_of
INSERT INTO message_id (list_id, msgid)
SELECT :list_id, value FROM text_each(:msgids) WHERE true
ON CONFLICT (list_id, msgid) DO NOTHING

-- name: refer
INSERT INTO reference (post_id, position, message_id, how)
SELECT :post_id, wanted.key, (SELECT id FROM message_id WHERE list_id = :list_id AND msgid = wanted.value),
       how.value
FROM text_each(:msgids) AS wanted JOIN number_each(:hows) AS how ON how.key = wanted.key

-- name: own
INSERT INTO message_id (list_id, msgid, post_id)
VALUES (:list_id, :msgid, :post_id)
ON CONFLICT (list_id, msgid) DO UPDATE SET post_id = excluded.post_id WHERE message_id.post_id IS NULL

-- name: waiting
SELECT reference.post_id, reference.position, reference.how, post.base, post.fresh
FROM message_id JOIN reference ON reference.message_id = message_id.id JOIN post ON post.id = reference.post_id
WHERE message_id.post_id = :post_id ORDER BY reference.post_id, reference.position DESC

-- name: waiting_first
SELECT DISTINCT stance.thread_id FROM reference JOIN stance ON stance.id = reference.post_id
WHERE reference.message_id IN (SELECT value FROM number_each(:ghosts)) AND stance.tied AND stance.parent_id IS NULL

-- name: found
UPDATE post SET named_id = :named_id, named_how = :how, apart = :apart WHERE id = :post_id

-- name: forget
DELETE FROM reference WHERE post_id = :post_id AND position >= :position

-- name: ghosts_of
SELECT DISTINCT message_id AS ghost FROM reference
WHERE how < 4 AND post_id IN (SELECT value FROM number_each(:posts))

-- name: ghosts_in
SELECT DISTINCT reference.message_id AS ghost FROM post JOIN reference ON reference.post_id = post.id
WHERE reference.how < 4 AND post.thread_id IN (SELECT value FROM number_each(:threads))

-- name: neighbours
SELECT near.ghost, post.thread_id, post.parent_id, post.claim_id,
       near.orphan IS NULL AND EXISTS (SELECT 1 FROM tie WHERE tie.ghost = near.ghost) AS claimed
FROM (SELECT value AS ghost,
             (SELECT tie.post_id FROM tie WHERE tie.ghost = value AND tie.under IS NULL LIMIT 1) AS orphan
      FROM number_each(:ghosts)) AS near
LEFT JOIN post ON post.id = near.orphan

-- name: concerned
WITH RECURSIVE concerned (ghost) AS (
    SELECT value FROM number_each(:ghosts)
    UNION
    SELECT other.message_id FROM concerned JOIN tie ON tie.ghost = concerned.ghost AND tie.under IS NULL
    JOIN reference AS other ON other.post_id = tie.post_id AND other.how < 4)
SELECT tie.ghost, tie.how, tie.post_id, tie.thread_id, tie.message_id, tie.under
FROM concerned JOIN tie ON tie.ghost = concerned.ghost ORDER BY tie.post_id, tie.position

-- name: some
SELECT stance.*, thread.number FROM stance JOIN thread ON thread.id = stance.thread_id
WHERE stance.id IN (SELECT value FROM number_each(:posts)) ORDER BY stance.id

-- name: members
SELECT stance.*, thread.number FROM stance JOIN thread ON thread.id = stance.thread_id
WHERE stance.thread_id IN (SELECT value FROM number_each(:threads)) ORDER BY stance.id

-- name: knot
SELECT 1 FROM post WHERE thread_id IN (SELECT value FROM number_each(:threads)) AND knot LIMIT 1

-- name: above
WITH RECURSIVE above (id, parent_id) AS (
    SELECT id, parent_id FROM post WHERE id = :id
    UNION
    SELECT post.id, post.parent_id FROM above JOIN post ON post.id = above.parent_id
    WHERE above.id NOT IN (SELECT value FROM number_each(:posts)))
SELECT id FROM above WHERE id IN (SELECT value FROM number_each(:posts))

-- name: hang
UPDATE post SET parent_id = :parent_id, how = :how, claim_id = :claim_id, knot = :knot WHERE id = :id

-- name: move
WITH RECURSIVE below (id) AS (
    SELECT value FROM number_each(:posts)
    UNION
    SELECT post.id FROM below JOIN post ON post.parent_id = below.id)
UPDATE post SET thread_id = :thread_id WHERE id IN (SELECT id FROM below) AND thread_id <> :thread_id

-- name: move_all
UPDATE post SET thread_id = :into WHERE thread_id = :id

-- name: left_behind
-- Threads that were merged, of whose own posts none is where they lead any more, and where the first of these is now.
SELECT thread.id, first.thread_id AS into_id
FROM thread JOIN post AS first ON first.id = (
    SELECT min(+post.id) FROM post
    WHERE post.list_id = thread.list_id AND label > thread.number || '.' AND label < thread.number || '/')
WHERE merged_into IN (SELECT value FROM number_each(:threads))
  AND first.thread_id IN (SELECT value FROM number_each(:threads))
  AND NOT EXISTS (SELECT 1 FROM post WHERE post.list_id = thread.list_id AND +post.thread_id = thread.merged_into
                  AND label > thread.number || '.' AND label < thread.number || '/')

-- name: cut
UPDATE post SET cut = TRUE, put_under = NULL WHERE id = :id

-- name: hold
-- Both decisions at once: it stays where its subject has put it.
UPDATE post SET put_under = parent_id, cut = TRUE
WHERE thread_id = (SELECT thread_id FROM post WHERE id = :id) AND how = 6 AND parent_id IS NOT NULL AND id <> :id

-- name: put_under
UPDATE post SET put_under = :under, cut = FALSE WHERE id IN (SELECT value FROM number_each(:posts))

-- name: newest
SELECT coalesce(max(id), 0) AS id FROM thread

-- name: standing
SELECT named_id, named_how, apart, base, was, lonely, fresh, thread_index, fingerprint, imported FROM post WHERE id = :id

-- name: names_of
SELECT message_id.msgid, reference.how FROM reference JOIN message_id ON message_id.id = reference.message_id
WHERE reference.post_id = :id ORDER BY reference.position

-- name: restate
UPDATE post SET named_id = :named_id, named_how = :named_how, apart = :apart, base = :base, was = :was,
                lonely = :lonely, fresh = :fresh
WHERE id = :id

-- name: part
UPDATE post SET apart = :apart WHERE id = :id

-- name: newest_number
SELECT last_thread AS number FROM list WHERE id = :list_id

-- name: places
SELECT post.id, post.label, thread.number, coalesce(post.parent_id, 0) AS parent_id, post.how
FROM post JOIN thread ON thread.id = post.thread_id WHERE post.list_id = :list_id AND post.id > :after
ORDER BY post.id LIMIT :limit

-- name: name
SELECT subject, named FROM thread WHERE id = :id

-- name: take_back
UPDATE post SET put_under = NULL WHERE id = :id AND put_under IS NOT NULL

-- name: uncut
UPDATE post SET cut = FALSE
WHERE id IN (SELECT value FROM number_each(:posts)) AND cut
  AND (named_id IN (SELECT id FROM post AS other WHERE other.thread_id = :into)
       OR named_id IS NULL AND EXISTS (SELECT 1 FROM reference JOIN tie ON tie.ghost = reference.message_id
                                       WHERE reference.post_id = post.id AND tie.thread_id = :into))
