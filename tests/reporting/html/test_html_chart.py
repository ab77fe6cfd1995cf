import subprocess
import sys

import pytest

from pneumo.reporting.html.chart import PREFIX, Chart


def test_charts_of_one_page_have_ids_of_their_own() -> None:
    chart = Chart(svg=f'<svg><path id="{PREFIX}a"/><use xlink:href="#{PREFIX}a"/></svg>', description="")
    assert chart.markup(2) == '<svg><path id="c2-a"/><use xlink:href="#c2-a"/></svg>'


@pytest.mark.parametrize("module", ["reporting.html.page", "training.cross_validation", "training.new_images"])
def test_the_library_of_charts_is_not_imported_before_there_is_one(module: str) -> None:
    """It takes as long as a third of all that training imports beside torch."""
    script = f"import sys, pneumo.{module}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
