"""Runs programs one after another, each in a process of its own that has the packages which all of
them use: python3 several.py "import sqlalchemy" main postgres://… tools postgres://…, in the folder of a stack."""
import json
import os
import runpy
import sys

sys.path.insert(0, os.getcwd())
exec(sys.argv[1])
for program, address in zip(sys.argv[2::2], sys.argv[3::2]):
    print(json.dumps({"program": program}), flush=True)
    if (child := os.fork()) == 0:
        sys.argv[1:] = [address]
        runpy.run_path(f"{program}.py", run_name="__main__")
        sys.exit()
    if status := os.waitpid(child, 0)[1]:
        sys.exit(os.waitstatus_to_exitcode(status) or 1)
