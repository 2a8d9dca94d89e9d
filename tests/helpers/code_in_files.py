"""`TouchFile`: an object for pickle files that runs a command when it is unpickled."""

import os


class TouchFile:
    """Unpickled, it creates the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)
