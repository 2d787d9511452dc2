"""Computing for many people at once, in separate processes: one worker for each device, each with a fair queue.

::

    page server                          worker process, or Ray actor
    Pool.submit(task) -> RemoteJob  -->  Worker.handle: JobQueue, a chunk of each job in turn
    RemoteJob.latest, .ended        <--  its states as they come

When a worker dies, only its jobs fail, with one sentence of explanation, and the next task starts another worker.
"""

from kdviz.serving.client import Pool, RemoteJob, can_fork, start_pool
from kdviz.serving.tasks import FaithfulnessTask, MapsTask, fingerprint

__all__ = ["FaithfulnessTask", "MapsTask", "Pool", "RemoteJob", "can_fork", "fingerprint", "start_pool"]
