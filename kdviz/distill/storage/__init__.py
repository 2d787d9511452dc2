"""What a training is, and what it leaves on the disk."""
