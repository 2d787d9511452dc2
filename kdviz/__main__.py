"""``python -m kdviz`` is the command ``kdviz``."""

import sys

from kdviz.cli import main
from kdviz.core.processes.with_parent import end_with_parent

end_with_parent()
sys.exit(main())
