-- name: spend
-- Each bucket is as full as all hosts together have left it; in how many seconds it is full again comes back.
INSERT INTO rate AS shared (what, client, full_at)
SELECT what, client, extract(epoch FROM statement_timestamp()) + seconds
FROM json_to_recordset(CAST(:spent AS JSON)) AS spent (what TEXT, client TEXT, seconds DOUBLE PRECISION)
ORDER BY what COLLATE "C", client COLLATE "C" -- so that two hosts do not wait for each other
ON CONFLICT (what, client) DO UPDATE
SET full_at = excluded.full_at + greatest(0, shared.full_at - extract(epoch FROM statement_timestamp()))
RETURNING what, client, full_at - extract(epoch FROM statement_timestamp()) AS seconds

-- name: forget
DELETE FROM rate WHERE full_at < extract(epoch FROM statement_timestamp())
