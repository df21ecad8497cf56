"""Whether each row of a recording holds the action that leads to the next row."""
