"""The data sets that come with kdviz, one a file. They are declared without torch, which their readers import."""
