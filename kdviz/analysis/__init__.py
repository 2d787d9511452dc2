"""What the pages show, as tables: evaluation, mistakes, studies, cost."""
