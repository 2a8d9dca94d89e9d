"""`load_script`: a script of the repository as a module, whose functions tests call in their own process."""

import importlib.util


def load_script(path):
    """A new module from the file; it is not entered into `sys.modules`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
