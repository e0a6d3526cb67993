"""The file to give to `spark-submit`, which takes no modules. The package need not be installed where it lies."""

import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    # Python looks in the script's own folder first, in which modules of this package have the names of others.
    sys.path = [path for path in sys.path if not path or Path(path).resolve() != _FOLDER]
    if (_FOLDER / "bridge.py").is_file():
        sys.path.insert(0, str(_FOLDER.parent))

    if importlib.util.find_spec("pyarrow") is None:
        print("error: pyarrow is not installed\n\nhint: pip install 'pyspark>=4.1,<5' pyarrow", file=sys.stderr)
        sys.exit(2)
    from tamis_spark.__main__ import main

    sys.exit(main())
