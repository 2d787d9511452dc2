"""Libraries of data sets, one a file. They are declared without torch, which their readers import."""
