-- name: fan_next
-- Whoever else is at it has another mailing; of this one nobody has what is not committed yet.
SELECT id, fan_after AS after, fan_last AS last, fan_modes AS modes, fan_author AS author
FROM mailing WHERE fan_after < fan_last ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
