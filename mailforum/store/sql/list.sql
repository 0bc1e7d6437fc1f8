-- name: add
INSERT INTO list (address, title, settings, digested_at, created_at)
VALUES (:address, :title, :settings, :now, :now)
ON CONFLICT (address) DO NOTHING
RETURNING id

-- name: by_id
SELECT id, address, title, settings, created_at FROM list WHERE id = :id

-- name: by_address
SELECT id, address, title, settings, created_at FROM list WHERE address = :address

-- name: among
SELECT id, address, title, settings, created_at FROM list
WHERE address IN (SELECT value FROM text_each(:addresses))
ORDER BY length(address) DESC

-- name: in_domain
SELECT 1 FROM list WHERE substr(address, length(address) - length(:suffix) + 1) = :suffix LIMIT 1

-- name: all
SELECT id, address, title, settings, created_at FROM list ORDER BY address

-- name: change
UPDATE list SET title = :title, settings = :settings WHERE id = :id

-- name: delete_some_members
DELETE FROM member WHERE id IN (SELECT id FROM member WHERE list_id = :id ORDER BY id LIMIT :limit)

-- name: delete_some_deliveries
DELETE FROM delivery WHERE id IN (
    SELECT delivery.id FROM mailing JOIN delivery ON delivery.mailing_id = mailing.id
    WHERE mailing.list_id = :id LIMIT :limit)

-- name: delete_some_posts
DELETE FROM post WHERE id IN (SELECT id FROM post WHERE list_id = :id ORDER BY id LIMIT :limit)

-- name: delete_some_names
DELETE FROM message_id WHERE id IN (SELECT id FROM message_id WHERE list_id = :id ORDER BY msgid LIMIT :limit)

-- name: delete_posts
DELETE FROM post WHERE list_id = :id

-- name: delete
DELETE FROM list WHERE id = :id

-- name: counts
SELECT
    (SELECT count(*) FROM member WHERE list_id = :id) AS members,
    (SELECT count(*) FROM post WHERE list_id = :id) AS posts,
    (SELECT count(*) FROM thread WHERE list_id = :id AND merged_into IS NULL) AS threads,
    (SELECT count(*) FROM held WHERE list_id = :id) AS held
