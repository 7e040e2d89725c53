"""Runs the scenes of a program and prints one line of JSON for each."""
import json
import traceback


def stack(name, version):
    print(json.dumps({"stack": name, "version": version}), flush=True)


def scene(name):
    """Runs the function that it decorates, which returns the ids of its events."""

    def run(function):
        try:
            result = {"ok": True, "id": function()}
        except Exception as err:  # the test shows it
            traceback.print_exc()
            result = {"ok": False, "error": f"{type(err).__name__}: {err}"}
        print(json.dumps({"scene": name, **result}), flush=True)
        return function

    return run


def skip(name, reason):
    print(json.dumps({"scene": name, "skip": reason}), flush=True)
