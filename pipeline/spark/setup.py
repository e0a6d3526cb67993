"""Makes the wheel one of its platform if it carries the binary; any Python 3 may have it then, too."""

from pathlib import Path

from setuptools import setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

BINARY = Path(__file__).with_name("src") / "tamis_spark" / "bin" / "tamis"


class Wheel(bdist_wheel):
    """A wheel with or without the binary."""

    def finalize_options(self) -> None:
        """Says whether it is of one platform."""
        super().finalize_options()
        self.root_is_pure = not BINARY.is_file()

    def get_tag(self) -> tuple[str, str, str]:
        """The parts of its name that say where it may be installed."""
        _, _, platform = super().get_tag()
        return "py3", "none", platform


setup(cmdclass={"bdist_wheel": Wheel})
