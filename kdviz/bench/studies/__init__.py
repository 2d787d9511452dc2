"""Studies and evaluations: their time over that of the bare forward passes that they need."""

from kdviz.bench.studies.attention import bench_study
from kdviz.bench.studies.evaluation import bench_evaluate

__all__ = ["bench_evaluate", "bench_study"]
