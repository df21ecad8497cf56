"""A study's workers elsewhere: launchers, SLURM submissions, supervisors."""
