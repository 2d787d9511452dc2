"""Old names of arguments."""

from dataclasses import dataclass

import pytest

from kdviz.core.moved import renamed_arguments


@renamed_arguments(old="new")
def double(new=1):
    return 2 * new


@renamed_arguments(old="new")
@dataclass
class Settings:
    new: int = 1


def test_an_argument_is_taken_by_its_old_name_with_a_warning():
    with pytest.warns(DeprecationWarning, match="The argument old is now new"):
        assert double(old=3) == 6


@pytest.mark.parametrize("called", [double, Settings])
def test_an_argument_by_both_names_is_refused(called):
    with pytest.raises(TypeError, match=rf"{called.__name__}\(\) got the argument 'new' twice, .*'old'"):
        called(new=2, old=3)
