"""Models that were trained elsewhere, with a data set, as an experiment of kdviz."""

from kdviz.importing.assemble import RECORD, ImportPlan, ImportProgress, import_experiment, report
from kdviz.importing.first_maps import first_maps
from kdviz.importing.footprint import small_footprint
from kdviz.importing.spec import KEYS, ModelSpec, named_model, parse_spec, role_of
from kdviz.importing.staging import DATASET, require_replaceable

__all__ = [
    "DATASET",
    "KEYS",
    "RECORD",
    "ImportPlan",
    "ImportProgress",
    "ModelSpec",
    "first_maps",
    "import_experiment",
    "named_model",
    "parse_spec",
    "report",
    "require_replaceable",
    "role_of",
    "small_footprint",
]
