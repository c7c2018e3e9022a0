"""Is the client, as it is installed, typed all through? `make client-types` asks pyright, in an environment of its own.

The adapters derive from classes of frameworks that are not installed there; their types are known where those are.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

_ADAPTERS = re.compile(r"demur_client\.(langchain|llama_index|haystack)\b")


def main() -> None:
    """Name every public symbol whose type is not known, and exit with 1 where there is one."""
    command = ["pyright", "--verifytypes", "demur_client", "--ignoreexternal", "--outputjson"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["typeCompleteness"]
    symbols = [each for each in report["symbols"] if not _ADAPTERS.match(each["name"])]
    unknown = sorted(each["name"] for each in symbols if not each["isTypeKnown"] or each["isTypeAmbiguous"])
    print(f"{len(symbols)} symbols, {len(unknown)} without a known type", *unknown, sep="\n")
    sys.exit(bool(unknown) or not symbols)


if __name__ == "__main__":
    main()
