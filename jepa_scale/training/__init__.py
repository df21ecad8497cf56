"""LightningModules and optimisers; no formula inside."""
