"""What Streamlit leaves open and the app needs, a file for each; each says what would happen without it."""
