"""Identification of the network that a file's tensors belong to, from their names and shapes alone.

No network is built and neither torchvision nor timm is imported: all of their classifiers are in an index that comes
with kdviz (:mod:`kdviz.models.identify.index`) and is rebuilt by ``python -m kdviz.models.identify.build``.
"""

from kdviz.models.identify.matching import Match, identify, tensors_for

__all__ = ["Match", "identify", "tensors_for"]
