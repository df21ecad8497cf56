"""SLURM: job arrays of workers for a study."""
