"""World models that other programs trained, read from their files."""
