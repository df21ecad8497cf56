"""One reader for each format that episodes are kept in."""
