"""The ways in which a backbone can be trained on photos: what each costs, and what it makes of them.

Each is a class on a backbone that was opened on the bench of a run: `measure` and `stages` say what it costs,
`train` returns a candidate that answers for photos without being told their labels, `release` frees memory.
"""
