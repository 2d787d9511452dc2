"""Which network a file's tensors are of, found from their names and shapes alone.

Nothing is built and neither torchvision nor timm is imported: all of their classifiers are in an index that comes with
kdviz (:mod:`kdviz.models.identify.index`), which ``python -m kdviz.models.identify.build`` makes anew.
"""

from kdviz.models.identify.matching import Match, identify, tensors_for

__all__ = ["Match", "identify", "tensors_for"]
