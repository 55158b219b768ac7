"""A trained model over HTTP: pictures in, answers out, in three shapes, with a page to try it."""
