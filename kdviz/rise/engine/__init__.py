"""A model's forward pass as fast as the device allows, with the same scores."""

from kdviz.rise.engine.batch_size import BatchSize, seconds_now
from kdviz.rise.engine.preparation import PRECISIONS, Forward, Prepared, as_given, prepare

__all__ = ["PRECISIONS", "BatchSize", "Forward", "Prepared", "as_given", "prepare", "seconds_now"]
