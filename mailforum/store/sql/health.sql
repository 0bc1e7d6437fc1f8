-- name: integrity
PRAGMA integrity_check

-- name: dangling
PRAGMA foreign_key_check
