"""Workers of a study on a cluster: launchers, SLURM submissions, supervisors."""
