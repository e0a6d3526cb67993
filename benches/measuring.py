"""What the scripts beside this one measure with, and where they install what they compare with. Python standard library only."""

import os
import subprocess
import sys


def measure(command, env=None, codes=(0,)):
    """Returns (wall seconds, CPU seconds, peak resident MiB, standard output) of a command, as the kernel accounts for them."""
    start = os.times().elapsed
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = os.times().elapsed - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in codes:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def install(site, *rounds):
    """Installs packages of PyPI into the folder `site` unless they are there, a pip for each round; returns the environment to use them."""
    complete = os.path.join(site, "complete")
    if not os.path.exists(complete):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action", "ignore"]
        for packages in rounds:
            subprocess.run([*pip, "--target", site, *packages], check=True)
        open(complete, "w").close()
    return dict(os.environ, PYTHONPATH=site)
