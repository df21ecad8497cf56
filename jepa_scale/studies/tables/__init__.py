"""Tables of runs as people have them: any of several file formats, ways to write numbers and names of columns."""
