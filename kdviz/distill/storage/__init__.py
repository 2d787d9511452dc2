"""Training runs with their identities, and their files on disk."""
