"""How the product speaks: errors, progress, records, settings, words."""
