"""The tables of a study of trees: their figures by depth and seed, and the weights of those that are shown."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.studies.tables import StudyTable

NAME = "tree"
"""Name of the table of figures."""

NODES = "tree_nodes"
"""Name of the table of weights."""

LABEL = "label"
"""The role of the row whose predictions are the ground truth."""

SPARSE = "sparse_linear"
"""The network of the rows without a depth that are no teacher's: a linear classifier with an L1 penalty."""


_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("role", _TEXT),
        ("network", _TEXT),
        ("depth", pa.int16()),
        ("seed", pa.int32()),
        ("split", _TEXT),
        ("samples", pa.int32()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("ece", pa.float64()),
        ("same_as_teacher", pa.float64()),
        ("kl_to_teacher", pa.float64()),
        ("inherited_errors", pa.float64()),
        ("path_accuracy", pa.float64()),
        ("path_is_answer", pa.float64()),
        ("path_probability", pa.float64()),
        ("leaves", pa.int32()),
        ("weights", pa.int32()),
        ("seconds", pa.float64()),
        ("predicted", pa.list_(pa.int16())),
    ]
)
"""Of tree.parquet: one row a model and split. ``depth`` is null for the teacher and for a linear classifier.

``accuracy``, ``loss``, ``ece`` and the columns about the teacher are of the mixture of all leaves; ``path_accuracy`` of
the leaf with the greatest path probability, which says the mixture's class in a share ``path_is_answer`` of the samples
and has the mean probability ``path_probability``. ``leaves`` counts those that are such a leaf for some sample,
``weights`` those of the decisions or of the linear classifier that are not 0. ``predicted`` are the classes of the
samples, but of the validation split; rows of the role ``label`` have their labels.
"""

NODE_SCHEMA = pa.schema(
    [
        ("role", _TEXT),
        ("depth", pa.int16()),
        ("seed", pa.int32()),
        ("node", pa.int32()),
        ("weights", pa.list_(pa.float32())),
        ("bias", pa.float32()),
        ("logits", pa.list_(pa.float32())),
        ("share", pa.float32()),
    ]
)
"""Of tree_nodes.parquet: one row a node of a tree that is shown, numbered by level from the root, 0. Inner nodes have
``weights``, of the inputs in the order (channel, row, column), and ``bias``; leaves have ``logits``. ``share`` is the
share of the test samples whose most probable path goes through the node."""

TABLE = StudyTable(NAME, SCHEMA, (Role.TEACHER,))
