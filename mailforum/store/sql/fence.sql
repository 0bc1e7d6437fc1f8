-- name: read
SELECT served, copied_at, home FROM fence

-- name: pass
UPDATE fence SET served = :served, copied_at = NULL, home = :home

-- name: mark
UPDATE fence SET copied_at = :now

-- name: closed
SELECT closed FROM fence
