-- name: add
INSERT INTO post (list_id, thread_id, label, parent_id, how, named_id, named_how, claim_id, apart, message_id,
                  thread_index, base, was, lonely, fresh, from_address, from_name, subject, date, received_at, size,
                  fingerprint, imported, mail, stray)
VALUES (:list_id, :thread_id, :label, :parent_id, :how, :named_id, :named_how, :claim_id, :apart, :message_id,
        :thread_index, :base, :was, :lonely, :fresh, :from_address, :from_name, :subject, :date, :received_at, :size,
        :fingerprint, :imported, :mail,
        :name LIKE '%.mailforum@%' OR EXISTS ( -- it came without an id (msgid.invent), or with that of another
            SELECT 1 FROM message_id
            WHERE list_id = :list_id AND msgid = :name AND post_id IS NOT NULL))

-- name: add_body
INSERT INTO body (post_id, raw) VALUES (:post_id, blob(:raw, :size))

-- name: body
SELECT raw FROM body WHERE post_id = :post_id

-- name: body_size
SELECT length(raw) AS size FROM body WHERE post_id = :post_id

-- name: by_id
SELECT * FROM listed_post
WHERE id = :id

-- name: is_cut
SELECT cut FROM post WHERE id = :id

-- name: by_label
SELECT * FROM listed_post
WHERE list_id = :list_id AND label = :label

-- name: index
SELECT thread_index, message_id, date FROM post WHERE id = :id

-- name: by_name
SELECT listed_post.* FROM message_id JOIN listed_post ON listed_post.id = message_id.post_id
WHERE message_id.list_id = :list_id AND message_id.msgid = :name

-- name: own_index
SELECT msgid AS name FROM message_id JOIN post ON post.id = message_id.post_id
WHERE post.id = :id AND message_id.list_id = post.list_id AND msgid = 'ti:' || post.thread_index

-- name: of_list
SELECT * FROM listed_post
WHERE list_id = :list_id AND id > :after ORDER BY id LIMIT :limit

-- name: by_oldest
SELECT * FROM listed_post
WHERE list_id = :list_id AND (date, id) > (:at, :id) AND date < :until
ORDER BY date, id LIMIT :limit

-- name: by_newest
SELECT * FROM listed_post
WHERE list_id = :list_id AND (date, id) < (:at, :id) AND date >= :since
ORDER BY date DESC, id DESC LIMIT :limit

-- name: selected
SELECT * FROM listed_post
WHERE list_id = :list_id AND id > :after AND id <= :last
  AND +date >= :start AND +date < :end -- the index of dates is not meant: each page would have to be sorted
ORDER BY id LIMIT :limit

-- name: selected_in_threads
SELECT * FROM listed_post
WHERE thread_id IN (SELECT value FROM number_each(:threads)) AND +list_id = :list_id
  AND +id > :after AND +id <= :last AND +date >= :start AND +date < :end
ORDER BY id LIMIT :limit

-- name: count_selected
SELECT count(*) AS posts, coalesce(max(id), 0) AS last FROM post
WHERE list_id = :list_id AND date >= :start AND date < :end

-- name: count_selected_in_threads
SELECT count(*) AS posts, coalesce(max(id), 0) AS last FROM post
WHERE thread_id IN (SELECT value FROM number_each(:threads)) AND +list_id = :list_id AND +date >= :start AND +date < :end

-- name: of_thread
SELECT * FROM listed_post
WHERE thread_id = :thread_id ORDER BY id

-- name: between
SELECT * FROM listed_post
WHERE list_id = :list_id AND id > :after AND id <= :last AND NOT imported ORDER BY id

-- name: newest
SELECT coalesce(max(id), 0) AS id, count(*) AS posts FROM post
WHERE list_id = :list_id AND id > :after AND NOT imported

-- name: known
SELECT post.id FROM message_id JOIN post ON post.id = message_id.post_id
WHERE message_id.list_id = :list_id AND message_id.msgid = :name AND post.fingerprint = :fingerprint
UNION ALL
SELECT id FROM post WHERE list_id = :list_id AND fingerprint = :fingerprint AND stray
LIMIT 1

-- name: imported
SELECT count(DISTINCT thread_id) AS threads,
       count(DISTINCT CASE WHEN thread_id > :newest THEN thread_id END) AS opened,
       min(date) AS first, max(date) AS last
FROM post
WHERE list_id = :list_id AND id >= :since AND imported

-- name: ghosts
SELECT count(*) AS ghosts FROM message_id
WHERE list_id = :list_id AND post_id IS NULL
  AND EXISTS (SELECT 1 FROM reference WHERE reference.message_id = message_id.id AND reference.how <= 3)
