-- name: add
INSERT INTO audit (at, who, what, list, target, before, after)
VALUES (:at, :who, :what, :list, :target, :before, :after)

-- name: page
SELECT * FROM audit
WHERE id > :after AND at >= :since AND at < :until
  AND (:list = '' OR list = :list OR substr(list, 1, length(:list) + 1) = :list || '@')
ORDER BY id LIMIT :limit
