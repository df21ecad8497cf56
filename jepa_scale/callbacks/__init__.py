"""Lightning callbacks: thin adapters from estimators, bounds and planners to logged estimates."""
