-- name: here
SELECT home() AS home

-- name: skip_ids
SELECT setval(sequence, nextval(sequence) + :by)
FROM (SELECT CAST(pg_get_serial_sequence(quote_ident(table_name), column_name) AS REGCLASS) AS sequence
      FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES') AS numbered
