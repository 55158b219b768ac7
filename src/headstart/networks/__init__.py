"""What eats pixels: backbones, their weights, how they run, features, the saved classifier."""
