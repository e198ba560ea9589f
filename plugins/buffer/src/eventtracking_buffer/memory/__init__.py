"""The storage in memory. Read `store`, then `engine`."""
