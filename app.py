"""The web app: ``streamlit run app.py``. The server runs ``lifespan`` once; each view of a page runs ``main``."""

import streamlit as st

from kdviz.app import lifespan, main, middleware

app = st.App(__file__, lifespan=lifespan, middleware=middleware)
main()
