"""Elements of pages that Streamlit does not have."""
