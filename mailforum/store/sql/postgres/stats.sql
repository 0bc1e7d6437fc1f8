-- name: size
SELECT pg_database_size(current_database()) AS bytes

-- name: in_hand
SELECT host.id, host.name, coalesce(claimed.deliveries, 0) AS deliveries
FROM host LEFT JOIN (
    SELECT claim, count(*) AS deliveries FROM delivery WHERE done_at IS NULL AND claim <> 0 GROUP BY claim
) AS claimed ON claimed.claim = host.id
WHERE host.roles LIKE '%deliver%' ORDER BY host.id
