"""Tables and texts from which pages and terminal output are assembled."""
