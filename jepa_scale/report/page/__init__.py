"""Building blocks of pages: markup, style sheet, figures, palette and script."""
