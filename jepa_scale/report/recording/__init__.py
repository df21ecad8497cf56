"""Presentation of the card of a recording: lines for the terminal, and a page with figures."""
