"""Build script: everything but the package list lives in pyproject.toml.

The list is here because ``twisted.plugins`` is a namespace that Twisted owns: the distribution adds
one module to it and must never ship an ``__init__.py`` there.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["overseer", "overseer.*"]), "twisted.plugins"],
    package_data={"overseer": ["py.typed"], "overseer.history": ["schema/*.sql"]},
    include_package_data=False,
)
