-- name: next_number
UPDATE list SET last_thread = last_thread + 1 WHERE id = :list_id RETURNING last_thread AS number

-- name: add
INSERT INTO thread (list_id, number, subject, last_label, created_at)
VALUES (:list_id, :number, :subject, :label, :now)

-- name: next_label
UPDATE thread SET last_label = last_label + 1 WHERE id = :id RETURNING number, last_label AS label

-- name: first
SELECT subject FROM post WHERE thread_id = :id AND parent_id IS NULL ORDER BY date, message_id LIMIT 1

-- name: rename
UPDATE thread SET subject = :subject WHERE id = :id

-- name: merge
UPDATE thread SET merged_into = :into WHERE id = :id OR merged_into = :id

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

-- name: heard_of
SELECT message_id.msgid, post.id, post.thread_id
FROM message_id LEFT JOIN post ON post.id = message_id.post_id
WHERE message_id.list_id = :list_id AND message_id.msgid IN (SELECT value FROM json_each(:msgids))

-- name: tied_to
SELECT (SELECT post.thread_id FROM reference JOIN post ON post.id = reference.post_id
        WHERE reference.message_id = message_id.id AND reference.position < post.reach LIMIT 1) AS thread_id
FROM message_id
WHERE message_id.list_id = :list_id AND message_id.msgid IN (SELECT value FROM json_each(:msgids))

-- name: hear_of
INSERT INTO message_id (list_id, msgid)
SELECT :list_id, value FROM json_each(:msgids) WHERE true
ON CONFLICT (list_id, msgid) DO NOTHING

-- name: refer
INSERT INTO reference (post_id, position, message_id)
SELECT :post_id, wanted.key,
       (SELECT id FROM message_id WHERE list_id = :list_id AND msgid = wanted.value)
FROM json_each(:msgids) AS wanted

-- name: own
INSERT INTO message_id (list_id, msgid, post_id) VALUES (:list_id, :msgid, :post_id)
ON CONFLICT (list_id, msgid) DO UPDATE SET post_id = excluded.post_id WHERE message_id.post_id IS NULL

-- name: members
SELECT post.id, post.thread_id, thread.number, post.parent_id, post.reach, post.message_id
FROM post JOIN thread ON thread.id = post.thread_id
WHERE post.thread_id IN (SELECT value FROM json_each(:threads)) ORDER BY post.id

-- name: references
SELECT reference.post_id, reference.message_id, message_id.post_id AS known
FROM reference JOIN message_id ON message_id.id = reference.message_id JOIN post ON post.id = reference.post_id
WHERE post.thread_id IN (SELECT value FROM json_each(:threads)) ORDER BY reference.post_id, reference.position

-- name: owned
SELECT message_id.id, message_id.post_id, message_id.msgid
FROM message_id JOIN post ON post.id = message_id.post_id
WHERE post.thread_id IN (SELECT value FROM json_each(:threads))

-- name: move
UPDATE post SET thread_id = :thread_id, parent_id = :parent_id, reach = :reach WHERE id = :id

-- name: newest
SELECT coalesce(max(id), 0) AS id FROM thread
