"""Whether a wheel has the files that are not Python: python .ci/check_wheel.py dist/jointkd-*.whl"""

import sys
from zipfile import ZipFile

FILES = (
    "jointkd/conf/train.yaml",
    "jointkd/demo/teacher/weights.safetensors",
    "jointkd/py.typed",
    "jointkd/reports/page.css",
)

if __name__ == "__main__":
    with ZipFile(sys.argv[1]) as wheel:
        missing = sorted(set(FILES) - set(wheel.namelist()))
    if missing:
        sys.exit(f"{sys.argv[1]} must have {', '.join(missing)}")
    print(f"{sys.argv[1]} has {', '.join(FILES)}")
