"""Commands about what is shipped: smaller models, their costs, and folders to hand over."""
