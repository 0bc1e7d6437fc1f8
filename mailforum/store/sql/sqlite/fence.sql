-- name: here
SELECT NULL AS home

-- name: skip_ids
UPDATE sqlite_sequence SET seq = seq + :by
