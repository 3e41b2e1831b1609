"""Figures, tables and whole pages as self-contained HTML with inline SVG; nothing here needs torch or a network."""
