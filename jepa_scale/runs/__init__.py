"""One resolved configuration in, one run record out."""
