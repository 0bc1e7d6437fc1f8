-- name: open
INSERT INTO breaker (key, reason, until) VALUES (:key, :reason, extract(epoch FROM clock_timestamp()) + CAST(:seconds AS DOUBLE PRECISION))
ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, until = greatest(breaker.until, excluded.until)

-- name: are_open
SELECT key, reason, until - extract(epoch FROM clock_timestamp()) AS seconds FROM breaker
WHERE until > extract(epoch FROM clock_timestamp())

-- name: forget
DELETE FROM breaker WHERE until < extract(epoch FROM clock_timestamp())

-- name: close_all
DELETE FROM breaker
