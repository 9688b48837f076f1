"""Make the picture of the page in README.md: the real one, over the example of the tests.

    python -m tests.status.picture [SECONDS]

Takes as many seconds as the charts are to show: five minutes, as a rule.
"""

from __future__ import annotations

import sys
import time

from tests.daemons import free_port
from tests.helpers import ROOT
from tests.status.browser import browser
from tests.status.rig import serving

PICTURE = ROOT / "docs" / "images" / "status-page.png"
SIZE = 1280, 720


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 310.0
    with serving(f"[127.0.0.1]:{free_port()}", churn=True) as status, browser() as driven:
        page = driven.page()
        page.style("light")
        page.open(f"{status.url}/")
        time.sleep(seconds)
        page.value("document.querySelector('th[data-field=sealed_rate] button').click()")
        page.wait("document.querySelector('th[data-field=sealed_rate]').ariaSort === 'descending'")
        time.sleep(2)  # the list is sorted anew, and has been drawn
        PICTURE.write_bytes(page.screenshot(*SIZE))


if __name__ == "__main__":
    main()
