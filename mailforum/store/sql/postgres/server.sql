-- name: settings
SELECT CAST(current_setting('server_version_num') AS BIGINT) AS number, current_setting('server_version') AS version,
       getdatabaseencoding() AS encoding, pg_is_in_recovery() AS standby,
       current_setting('fsync') = 'on' AS fsync, current_setting('full_page_writes') = 'on' AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       CAST(current_setting('max_connections') AS BIGINT)
           - CAST(current_setting('superuser_reserved_connections') AS BIGINT) AS places,
       CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS now
