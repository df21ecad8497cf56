"""Studies: design of the runs, their queue, its workers, and the collection of results."""
