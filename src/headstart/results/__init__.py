"""What a run comes to: the schema of its folder, the decision, and the verdict in sentences."""
