"""`forked_python`: an executable `python` for shells, whose scripts start in milliseconds.

It hands its arguments, variables, working directory and open files to a server, which forks a process that has imported
PyTorch and SegViT; see `helpers.processes`. Signals, the exit code and its own end are passed on. What is no script,
such as `python -c`, runs in a true interpreter.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import sys
import tempfile
from multiprocessing.connection import wait
from pathlib import Path

from helpers.processes import fork_server, run_program, run_script

CLIENT = """#!{python} -ISE
import json, os, signal, socket, sys
words = sys.argv[1:]
if words[:1] == ["-u"]:
    words = words[1:]
if not words or not words[0].endswith(".py") and words[:2] != ["-m", "torch.distributed.run"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"0"], [0, 1, 2])
server.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode() + b"\\0")
pid = int(server.recv(20))
for name in (signal.SIGINT, signal.SIGTERM):
    signal.signal(name, lambda number, frame: os.kill(pid, number))
code = int(server.recv(20))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def forked_python():
    """The variables that make shells and torchrun use the executable, as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        address = os.path.join(folder, "socket")
        executable = Path(folder, "python")
        executable.write_text(CLIENT.format(python=sys.executable, address=address))
        executable.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            server = fork_server().Process(target=_serve, args=(listener,))
            server.start()
        try:
            path = os.pathsep.join([folder, str(Path(sys.executable).parent), os.environ["PATH"]])
            yield {"PATH": path, "PYTHON_EXEC": str(executable)}
        finally:
            server.terminate()
            server.join()


def run_under_torchrun(script, *arguments, **options):
    """Run a script to its end in two processes of one machine; see `run_program`."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with forked_python() as variables:
        return run_program(*torchrun, script, *arguments, environment=variables, **options)


def _serve(listener):
    """Fork a process for each call, until this one is ended or its parent is gone."""
    listener.settimeout(5)
    parent = os.getppid()
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            connection.setblocking(True)
            multiprocessing.active_children()  # collects those that have ended
            multiprocessing.get_context("fork").Process(target=_answer, args=(connection,)).start()
            connection.close()


def _answer(connection):
    """Run a script, and pass its exit code on; kill it if its client is killed."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    message = bytearray()
    while not message.endswith(b"\0"):
        message += connection.recv(65536)
    words, folder, variables = json.loads(message[:-1])
    process = multiprocessing.get_context("fork").Process(target=run_script, args=(words, variables, files[1:], folder))
    process.start()
    for file in files:
        os.close(file)
    connection.sendall(str(process.pid).encode())
    if process.sentinel not in wait([process.sentinel, connection]):
        process.kill()
    process.join()
    with contextlib.suppress(OSError):
        connection.sendall(str(process.exitcode).encode())
