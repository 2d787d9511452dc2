"""The app, but that it measures times for a second instead of a quarter of a minute, and refreshes pages seldom.

And a session can forget: see forgetful.py.
"""

from __future__ import annotations

import streamlit as st
from forgetful import forget_on_request
from seldom import refresh_seldom

from kdviz.app import lifespan, main, middleware
from kdviz.app.pages.cost import profiler_process

profiler_process._SECONDS = 1.0  # no test reads the times
app = st.App(__file__, lifespan=lifespan, middleware=middleware)
refresh_seldom()
forget_on_request()
main()
