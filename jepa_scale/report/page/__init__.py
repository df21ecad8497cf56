"""How pages look: markup, style, figures in them, the palette, the script."""
