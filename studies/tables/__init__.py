"""The tables: columns, rows, statistics."""
