"""The app, but for what only takes time: costs are measured for a second, maps are shown anew every two seconds.

And a session can forget, see forgetful.py.
"""

from __future__ import annotations

import sys

import streamlit as st
from forgetful import forget_on_request

from kdviz.app import lifespan, main, middleware
from kdviz.app.pages.cost import profiler_process

profiler_process._SECONDS = 1.0  # no test reads the times
# Each time, the server estimates again and the browser draws again, while what they wait for is computed beside them.
SELDOM = {
    "kdviz.app.pages.compare.page": {"_REFRESH_SECONDS": 2.0},
    "kdviz.app.pages.mistakes.sample_panel": {"_PAUSE": 2000},
}
for name, values in SELDOM.items():
    if name in sys.modules:  # they load torch: not before the server has started
        vars(sys.modules[name]).update(values)
app = st.App(__file__, lifespan=lifespan, middleware=middleware)
forget_on_request()
main()
