"""Names of classes, and labels in folders and tables."""
