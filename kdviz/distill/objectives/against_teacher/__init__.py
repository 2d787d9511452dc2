"""Losses of a student against its teacher, one a file of its name: pure functions of their logits."""
