"""The studies of sweeps: temperature and others, and the teacher's epochs."""

from kdviz.app.page_registry import Need, Page, Section, pages
from kdviz.core.language import N_

SWEEPS = pages.add(
    "temperature",
    Page(
        title=N_("Temperature and other sweeps"),
        icon="device_thermostat",
        function="kdviz.app.pages.studies.sweeps:page",
        section=Section.STUDIES,
        position=0,
        question=N_("Which setting teaches best?"),
    ),
)

TEACHER_EPOCHS = pages.add(
    "teacher-epochs",
    Page(
        title=N_("Teacher epochs"),
        icon="hourglass_top",
        function="kdviz.app.pages.studies.teacher_epochs:page",
        section=Section.STUDIES,
        position=1,
        question=N_("When should the teacher stop?"),
        invitation=N_("When should the teacher stop?"),
        needs=frozenset({Need.EXPERIMENT, Need.TRAINING}),
    ),
)
