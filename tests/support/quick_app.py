"""The app, but that it measures times for a second instead of a quarter of a minute, and that a session can forget."""

from __future__ import annotations

import streamlit as st
from forgetful import forget_on_request

from kdviz.app import lifespan, main, middleware
from kdviz.app.pages.cost import profiler_process

profiler_process._SECONDS = 1.0  # no test reads the times
app = st.App(__file__, lifespan=lifespan, middleware=middleware)
forget_on_request()
main()
