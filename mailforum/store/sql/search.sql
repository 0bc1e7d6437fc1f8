-- name: expect
INSERT INTO indexed (post_id, entry) VALUES (:post_id, NULL) ON CONFLICT (post_id) DO NOTHING

-- name: waiting
SELECT post_id, size FROM indexed JOIN post ON post.id = post_id
WHERE entry IS NULL ORDER BY post_id DESC LIMIT :limit

-- name: any_waiting
SELECT post_id FROM indexed WHERE entry IS NULL LIMIT 1

-- name: count_waiting
SELECT count(*) AS n FROM indexed WHERE entry IS NULL

-- name: still_waiting
SELECT post.id, post.list_id, post.date FROM number_each(:ids) AS given
JOIN indexed ON indexed.post_id = given.value AND entry IS NULL JOIN post ON post.id = indexed.post_id
ORDER BY post.list_id, post.date, post.id

-- name: last
SELECT max(entry) AS entry FROM indexed WHERE entry BETWEEN :first AND :last

-- name: mark
UPDATE indexed SET entry = :entry WHERE post_id = :post_id

-- name: entries
SELECT post_id, entry FROM indexed
WHERE post_id IN (SELECT value FROM number_each(:ids)) AND entry IS NOT NULL ORDER BY entry

-- name: entries_of_list
SELECT post_id FROM indexed WHERE entry BETWEEN :first AND :last ORDER BY entry LIMIT :limit

-- name: unexpect
DELETE FROM indexed WHERE post_id = :post_id

-- name: rules
SELECT rules FROM indexed_by

-- name: set_rules
UPDATE indexed_by SET rules = :rules WHERE rules <> :rules

-- name: expect_none
DELETE FROM indexed

-- name: expect_all
INSERT INTO indexed (post_id, entry) SELECT id, NULL FROM post WHERE TRUE ON CONFLICT (post_id) DO NOTHING

-- name: newest_of_all
SELECT entry FROM indexed WHERE entry BETWEEN :first AND :last ORDER BY entry DESC LIMIT :limit

-- name: of_threads
SELECT entry FROM post JOIN indexed ON indexed.post_id = post.id
WHERE post.thread_id IN (SELECT value FROM number_each(:threads)) AND entry IS NOT NULL ORDER BY entry DESC

-- name: posts
SELECT entry, post_id FROM indexed WHERE entry IN (SELECT value FROM number_each(:entries))
