-- name: watermark
SELECT digested_post, digested_at, last_issue,
       (SELECT received_at FROM post WHERE post.list_id = list.id AND post.id > digested_post AND NOT imported
        ORDER BY post.id LIMIT 1) AS first_new
FROM list WHERE id = :list_id

-- name: waiting
SELECT id FROM list WHERE EXISTS (
    SELECT 1 FROM post WHERE post.list_id = list.id AND post.id > list.digested_post AND NOT post.imported
)

-- name: cut
UPDATE list SET digested_post = :last_post, digested_at = :now, last_issue = :number WHERE id = :list_id

-- name: clock_went_back
UPDATE list SET digested_at = :now WHERE digested_at > :tomorrow

-- name: add
INSERT INTO issue (list_id, number, after_post, last_post, posts, created_at)
VALUES (:list_id, :number, :after_post, :last_post, :posts, :now)
RETURNING id

-- name: by_id
SELECT id, list_id, number, after_post, last_post, posts, created_at FROM issue WHERE id = :id

-- name: readers
SELECT count(*) AS readers FROM member WHERE list_id = :list_id AND mode = 'digest' AND status = 'active'
