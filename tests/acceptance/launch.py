"""`python launch.py FILE.py DATA`: what `runstate serve FILE.py --port 0 --data DATA` does, without the command line."""

import importlib.util
import sys
from pathlib import Path

import uvloop

from runstate import Pipeline
from runstate.core.errors import RunstateError
from runstate.server.serve import serve

spec = importlib.util.spec_from_file_location(Path(sys.argv[1]).stem, sys.argv[1])
sys.path.insert(0, str(Path(sys.argv[1]).parent))
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
served = [value for value in vars(module).values() if isinstance(value, Pipeline)]
try:
    uvloop.run(
        serve(served, Path(sys.argv[2]), port=0, on_ready=lambda url: print("runstate is serving", url, flush=True))
    )
except* RunstateError as group:
    print(*group.exceptions, file=sys.stderr)
    sys.exit(2)
