"""What is said of distillation on other data than the training pictures."""
