"""What pages are made of, where Streamlit has no element for it."""
