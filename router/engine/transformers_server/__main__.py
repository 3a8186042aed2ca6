"""Runs the server. An interpreter that does not know smallfirst may run this folder as a package of its own."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if not __package__:
    folder = Path(__file__).parent
    sys.path.pop(0)  # its modules are not to hide others of the same names
    spec = spec_from_file_location(folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec  # noqa: S101 - the file exists
    sys.modules[folder.name] = module_from_spec(spec)
    __package__ = folder.name

from .program import main

main()
