-- name: read
SELECT served, copied_at FROM fence

-- name: pass
UPDATE fence SET served = :served, copied_at = NULL

-- name: mark
UPDATE fence SET copied_at = :now

-- name: closed
SELECT closed FROM fence
