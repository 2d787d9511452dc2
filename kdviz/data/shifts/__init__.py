"""Shifts of pictures: changes that keep what a picture shows, and that no model saw in training."""
