"""A site moves from one database to another, row by row (docs/decisions/0019)."""
