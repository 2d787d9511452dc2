"""An experiment's results as Markdown, so that figures in a document are never typed."""
