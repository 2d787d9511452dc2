"""Computing for many people at once, in processes of its own: one worker a device, each with one fair queue.

::

    page server                          worker process, or Ray actor
    Pool.submit(task) -> RemoteJob  -->  Worker.handle: JobQueue, a chunk of each job in turn
    RemoteJob.latest, .ended        <--  its states as they come

A worker that dies takes its jobs with it, and nothing else: they fail with one sentence, and the next task starts
another worker.
"""

from kdviz.serving.client import Pool, RemoteJob, can_fork, start_pool
from kdviz.serving.tasks import FaithfulnessTask, MapsTask, fingerprint

__all__ = ["FaithfulnessTask", "MapsTask", "Pool", "RemoteJob", "can_fork", "fingerprint", "start_pool"]
