"""Which files are photos and of what class: folders, tables and samples to a Dataset."""
