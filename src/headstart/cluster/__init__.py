"""The work of a comparison on several machines, by Ray."""
