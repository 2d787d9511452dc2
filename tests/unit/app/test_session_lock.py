"""Two runs of a page that change one session at the same time, as after a click while a page is being drawn."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

from kdviz.app.uploads.session_end import empty
from kdviz.app.workarounds.session_lock import share_session_locks

SHORT = 0.2  # seconds in which the other thread would be done if nothing held it


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setattr(SafeSessionState, "__init__", SafeSessionState.__init__)  # is put back afterwards
    share_session_locks()
    share_session_locks()  # a second time changes nothing


class Interrupted(SessionState):
    """A state that somebody else wants to change while its keys are being read."""

    __slots__ = ("other",)  # Streamlit's own has no other attributes, either

    def __init__(self):
        super().__init__()
        self.other: threading.Thread | None = None

    def _get_widget_id(self, k):
        if self.other is not None:
            other, self.other = self.other, None
            other.start()
            other.join(SHORT)
        return super()._get_widget_id(k)


def a_state() -> Interrupted:
    state = Interrupted()
    state._old_state = {"a": 1, "b": 2}
    return state


def run_of(state: SessionState) -> SafeSessionState:
    return SafeSessionState(state, lambda: None)


def test_the_last_run_changes_nothing_while_the_next_one_reads(shared):
    state = a_state()
    last, following = run_of(state), run_of(state)
    state.other = writer = threading.Thread(target=lambda: last.__setitem__("c", 3))
    assert set(following.filtered_state) == {"a", "b"}
    writer.join()
    assert following.filtered_state == {"a": 1, "b": 2, "c": 3}


def test_a_session_is_not_emptied_while_a_run_reads(shared):
    state = a_state()
    session = SimpleNamespace(session_state=state, _fragment_storage={})
    state.other = thread = threading.Thread(target=empty, args=(session,))
    assert set(run_of(state).filtered_state) == {"a", "b"}
    thread.join()
    assert run_of(state).filtered_state == {}


def test_another_session_does_not_wait(shared):
    state, another = a_state(), run_of(a_state())
    state.other = threading.Thread(target=lambda: another.__setitem__("c", 3))
    assert set(run_of(state).filtered_state) == {"a", "b"}
    assert another.filtered_state == {"a": 1, "b": 2, "c": 3}


def test_one_run_may_take_the_lock_twice(shared):
    run = run_of(a_state())
    with run._lock:
        run["a"] = 5
    assert run["a"] == 5
