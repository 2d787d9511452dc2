"""Whether models use a planted shortcut, whether their maps show it, and whether a student inherits it."""

from kdviz.studies.shortcuts.report import ShortcutsReport, read_shortcut_reports
from kdviz.studies.shortcuts.study import ShortcutsStudy, planted_in

__all__ = ["ShortcutsReport", "ShortcutsStudy", "planted_in", "read_shortcut_reports"]
