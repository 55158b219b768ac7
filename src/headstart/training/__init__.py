"""What is fitted: heads on features, fine-tuned networks, and what heads tell of the photos."""
