"""Shortcuts that are planted into pictures: marks that go with the class in training, and say nothing of the object."""
