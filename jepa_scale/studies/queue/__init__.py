"""The queue of a study's runs: Optuna trials in a journal, and which worker owns which run."""
