"""What is to be known of the photos before anything is trained, and into which parts they go."""
