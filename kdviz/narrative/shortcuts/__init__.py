"""What is said of a planted shortcut."""
