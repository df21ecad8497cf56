"""Tables and texts that pages and the terminal are put together from."""
