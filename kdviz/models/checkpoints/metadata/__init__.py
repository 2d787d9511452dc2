"""What is written beside the weights of a checkpoint."""
