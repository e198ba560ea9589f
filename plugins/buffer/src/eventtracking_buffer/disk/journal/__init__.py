"""The journal: files of events, appended by every process. Read `records`, `writer`, `reader`."""
