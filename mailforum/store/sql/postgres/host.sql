-- name: be_the_only_one
SELECT pg_advisory_xact_lock(:lock) AS locked

-- name: wait_for_the_only_one
SELECT pg_advisory_xact_lock_shared(:lock) AS locked

-- name: newest
SELECT coalesce(pg_sequence_last_value(CAST(pg_get_serial_sequence('host', 'id') AS REGCLASS)), 0) AS id

-- name: wait_for_schema
-- A migration takes it alone (store/postgres/session.py, MIGRATING).
SELECT pg_advisory_xact_lock_shared(7881696744042397696)

-- name: schema
SELECT max(number) AS number, max(runs_with) AS runs_with, CAST(current_setting('mailforum.knows') AS BIGINT) AS knows
FROM migration

-- name: closed
-- Who closes it (store/move) waits for us, and then sees that we serve it.
SELECT closed FROM fence FOR SHARE

-- name: register
INSERT INTO host (name, roles, version, keys, started_at, seen_at)
SELECT :name, :roles, :version, :keys, now, now FROM (SELECT extract(epoch FROM clock_timestamp()) AS now) AS clock

-- name: renew
UPDATE host SET seen_at = :now WHERE id = :id

-- name: show
UPDATE host SET keys = :keys WHERE id = :id

-- name: living
SELECT id, name, roles, version, keys, started_at, seen_at, extract(epoch FROM clock_timestamp()) AS now
FROM host ORDER BY id

-- name: bury
-- A row that is locked is that of a host which just now writes marks: it lives.
DELETE FROM host WHERE id IN (
    SELECT id FROM host WHERE seen_at < extract(epoch FROM clock_timestamp()) - CAST(:lease AS DOUBLE PRECISION) FOR UPDATE SKIP LOCKED)
RETURNING id, name, extract(epoch FROM clock_timestamp()) - seen_at AS silent

-- name: bury_ended
DELETE FROM host WHERE id IN (
    SELECT id FROM host WHERE id IN (SELECT value FROM number_each(:ids)) FOR UPDATE SKIP LOCKED)
RETURNING id, name, extract(epoch FROM clock_timestamp()) - seen_at AS silent

-- name: leave
DELETE FROM host WHERE id = :id

-- name: standing
-- Nobody can bury them before our transaction ends; they may still renew. If we are stopped in the midst of it, the
-- server ends it soon: a host that stands still is not to be taken for one that works.
SELECT id, set_config('idle_in_transaction_session_timeout', '5000', TRUE) AS patience
FROM host WHERE id IN (SELECT value FROM number_each(:ids)) FOR KEY SHARE

-- name: land_orphans
DELETE FROM in_flight WHERE lane / 1000 NOT IN (SELECT id FROM host) RETURNING deliveries
