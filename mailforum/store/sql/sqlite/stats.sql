-- name: size
SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()

-- name: in_hand
-- What is in hand only the one worker knows.
SELECT 0 AS id, '' AS name, 0 AS deliveries WHERE FALSE
