"""Which ways a backbone can be trained on photos, and what each makes of it."""
