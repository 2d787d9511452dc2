"""What is shipped, in words: compressed models, the limits of devices, and model cards."""
