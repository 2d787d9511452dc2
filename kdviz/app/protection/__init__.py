"""What every request to the server passes before Streamlit gets it, and every answer on its way to the browser."""
