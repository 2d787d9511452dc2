"""Captum's attribution methods: one file a method, which declares all that is known about it."""
