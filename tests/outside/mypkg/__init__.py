"""A stranger's package: every kind of part, none of this project's classes where a plain one will do."""
