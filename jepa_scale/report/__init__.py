"""Reports: figures, conclusions and pages written from records."""
