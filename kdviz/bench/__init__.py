"""Benchmarks of speed, memory and mask efficiency: each figure is a ratio to a reference that ran in the same minutes.

Machines differ and are noisy, so the compared runs take turns, and the fastest of several tries counts. The web app is
measured as people use it, against its targets (app.py).
"""

from kdviz.bench.app import bench_app
from kdviz.bench.rise import bench_rise
from kdviz.bench.rows import Measurement, about
from kdviz.bench.studies import bench_evaluate, bench_study
from kdviz.bench.train import bench_train

__all__ = ["Measurement", "about", "bench_app", "bench_evaluate", "bench_rise", "bench_study", "bench_train"]
