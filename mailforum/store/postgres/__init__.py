"""The database on a PostgreSQL server, which any number of hosts may use at the same time."""
