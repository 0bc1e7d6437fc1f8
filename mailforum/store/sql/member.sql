-- name: add
INSERT INTO member (list_id, address, key, name, role, mode, status, own_posts, joined_at)
VALUES (:list_id, :address, :key, :name, :role, :mode, 'active', TRUE, :now)
ON CONFLICT (list_id, key) DO NOTHING
RETURNING *

-- name: by_id
SELECT * FROM member WHERE id = :id

-- name: by_key
SELECT * FROM member WHERE list_id = :list_id AND key = :key

-- name: everywhere
SELECT member.*, list.address AS list_address FROM member JOIN list ON list.id = member.list_id
WHERE member.key = :key ORDER BY list.address

-- name: of_list
SELECT * FROM member WHERE list_id = :list_id ORDER BY key

-- name: in_charge
SELECT * FROM member WHERE list_id = :list_id AND role IN ('owner', 'moderator') AND status = 'active' ORDER BY key

-- name: change
UPDATE member
SET name = :name, role = :role, mode = :mode, status = :status, own_posts = :own_posts
WHERE id = :id

-- name: remove
DELETE FROM member WHERE id = :id
