"""The storage on disk. Read `journal`, `state`, `store`, `takeover`, then `engine`."""
