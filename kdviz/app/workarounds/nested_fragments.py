"""Messages of a fragment inside another one, which Streamlit would send to the browser without what they lie in.

When a fragment begins to run, Streamlit forgets what was not sent of its last run, but not what the fragments inside it
had put into containers of that run. If the container was forgotten before it was sent, the browser is told to fill what
it does not have ("Bad delta path index"), and its page is white from then on: a click while a page is still being drawn
is enough. What lies in something forgotten is drawn again in any case, so it is forgotten, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Path = tuple[int, ...]


def send_no_orphans() -> None:
    """Let the queues of all sessions forget the contents of each container that they forget; done once a process.

    A version of Streamlit whose queue is not as it is here is left alone.
    """
    try:
        from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
    except ImportError:
        return
    clear = getattr(ForwardMsgQueue, "clear", None)
    if clear is not None and not hasattr(clear, "forgets_contents"):
        ForwardMsgQueue.clear = _forgetting_contents(clear)  # type: ignore[method-assign]


def _forgetting_contents(clear: Callable[..., None]) -> Callable[..., None]:
    def clear_with_contents(
        queue: Any, retain_lifecycle_msgs: bool = False, fragment_ids_this_run: list[str] | None = None
    ) -> None:
        before = queue._queue
        clear(queue, retain_lifecycle_msgs, fragment_ids_this_run)
        if not fragment_ids_this_run:  # nothing of a page is kept, as when all messages were sent
            return
        kept = {id(message) for message in queue._queue}
        forgotten = _containers(message for message in before if id(message) not in kept)
        if forgotten and queue._queue:
            queue._queue = [message for message in queue._queue if not _lies_in(message, forgotten)]

    clear_with_contents.forgets_contents = True  # type: ignore[attr-defined]
    return clear_with_contents


def _containers(messages: Iterable[Any]) -> set[Path]:
    """The paths of the containers that these messages would have made."""
    return {
        tuple(message.metadata.delta_path)
        for message in messages
        if message.HasField("delta") and message.delta.WhichOneof("type") == "add_block"
    }


def _lies_in(message: Any, containers: set[Path]) -> bool:
    if not (message.HasField("delta") or message.HasField("ref_hash")):
        return False
    path = tuple(message.metadata.delta_path)
    return any(path[:end] in containers for end in range(1, len(path)))
