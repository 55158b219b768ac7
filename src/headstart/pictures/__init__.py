"""What counts as a picture, and bytes to pixels: the one decoder and resizer."""
