"""The page on pairing without the rest: its example runs, prints what it says, loads no more."""

import re
import subprocess
import sys

from builders.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "pairing_alone.md").read_text()
CODE, PRINTED = (
    re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1] for kind in ("python", "text")
)


def test_the_example_prints_what_the_page_says_without_torch_numpy_or_ros(tmp_path):
    check = "\nimport sys\nassert not {'torch', 'numpy', 'rclpy', 'cv2'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", CODE + check],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == (PRINTED, 0), done.stderr
