-- Each pair: how far a step goes and how old it is at its oldest; and what of it is deleted. Steps go
-- up by id, so that none of them looks at more than its share.

-- name: deliveries
SELECT max(id) AS last, min(created_at) AS oldest
FROM (SELECT id, created_at FROM delivery WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_deliveries
DELETE FROM delivery WHERE id > :after AND id <= :last AND done_at < :before

-- name: mailings
SELECT max(id) AS last, min(created_at) AS oldest
FROM (SELECT id, created_at FROM mailing WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_mailings
DELETE FROM mailing WHERE id > :after AND id <= :last AND created_at < :before AND fan_after >= fan_last
 AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.mailing_id = mailing.id)

-- name: held
SELECT max(id) AS last, min(received_at) AS oldest
FROM (SELECT id, received_at FROM held WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_held
DELETE FROM held WHERE id > :after AND id <= :last AND received_at < :before

-- name: shunts
SELECT max(id) AS last, min(at) AS oldest FROM (SELECT id, at FROM shunt WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_shunts
DELETE FROM shunt WHERE id > :after AND id <= :last AND at < :before

-- name: bounces
SELECT max(id) AS last, min(at) AS oldest FROM (SELECT id, at FROM bounce WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_bounces
DELETE FROM bounce WHERE id > :after AND id <= :last AND at < :before

-- name: requests
SELECT max(id) AS last, min(expires_at) AS oldest
FROM (SELECT id, expires_at FROM request WHERE id > :after ORDER BY id LIMIT :limit) AS step

-- name: drop_requests
DELETE FROM request WHERE id > :after AND id <= :last AND expires_at < :before

-- name: drop_seen
DELETE FROM seen
WHERE (rcpt, digest) IN (SELECT rcpt, digest FROM seen WHERE at < :before ORDER BY at LIMIT :limit)
  AND at < :before -- it may have been seen again since the line above was true

-- name: drop_answers
DELETE FROM answer
WHERE (day, list_id, key) IN (SELECT day, list_id, key FROM answer WHERE day < :day LIMIT :limit)

-- name: posts
SELECT id, received_at < :before AS old FROM post
WHERE id > (SELECT bodies_to FROM upkeep) ORDER BY id LIMIT :limit

-- name: replace_body
UPDATE body SET raw = :raw WHERE post_id = :post_id

-- name: forgotten
SELECT bodies_to FROM upkeep

-- name: bodies_to
UPDATE upkeep SET bodies_to = :id
