"""Studies: design, queue, workers, collection."""
