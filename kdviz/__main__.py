"""``python -m kdviz`` is the command ``kdviz``."""

import sys

from kdviz.cli import main

sys.exit(main())
